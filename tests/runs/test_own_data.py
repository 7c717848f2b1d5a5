"""What a network says of image files where the data set was not prepared as MNIST was."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from context_agg import predict
from context_agg.data.images import ImageData
from context_agg.runs.classify import classify
from tests.colour_scenes import CLASSES, colour_scenes


def shades(channels: int) -> ImageData:
    """Grey or colour images of 10x12 pixels, darker or lighter in the middle."""
    generator = torch.Generator().manual_seed(1)
    target = torch.arange(8) % 2
    images = torch.randint(90, 140, (8, channels, 12, 10), generator=generator)
    images[:, :, 4:8, 3:7] += torch.where(target == 1, 60, -60)[:, None, None, None]
    part = images.byte(), target
    classes = ("dark", "light")
    return ImageData(
        *[part] * 3, name="shades", classes=classes, batch_size=8, held_out="validation", seed=0
    )


@pytest.mark.parametrize(("channels", "kind"), [(1, "grey"), (3, "colour")])
def test_an_image_is_classified_as_the_training_images_are(
    channels: int,
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = shades(channels)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(channels * 120, 2)).eval()
    images = data.test.images
    with torch.no_grad():
        expected = network(images.float() / 255).softmax(1)
    files = [tmp_path / f"{number}.png" for number in range(len(images))]
    for image, file, row in zip(images, files, expected, strict=True):
        Image.fromarray(image.movedim(0, -1).numpy().squeeze()).save(file)
        description, probabilities = classify(network, data.spec, file)
        assert description == f"10x12 {kind}"
        assert list(probabilities) == ["dark", "light"]
        np.testing.assert_allclose(list(probabilities.values()), row.tolist(), atol=1e-6)
    Image.new("RGB", (64, 48), "red").save(tmp_path / "photo.png")
    monkeypatch.setattr("context_agg.runs.load.load_network", lambda _: (network, data.spec))
    predict.main(["run", str(tmp_path / "photo.png")])
    made = {"grey": ", made grey", "colour": ""}[kind]
    said, *classes = capsys.readouterr().out.splitlines()
    assert said == f"{tmp_path / 'photo.png'}: 64x48 colour{made}, scaled to 10x12"
    assert len(classes) == 2


def test_a_black_frame_is_labelled_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, spec = nn.Conv2d(3, len(CLASSES), 3, padding=1).eval(), colour_scenes().spec
    monkeypatch.setattr("context_agg.runs.load.load_network", lambda _: (network, spec))
    frames, out = tmp_path / "frames", tmp_path / "out"
    frames.mkdir()
    for number, colour in enumerate(("black", "white")):
        Image.new("RGB", (30, 20), colour).save(frames / f"frame{number}.png")
    predict.main(["run", str(frames), "--out", str(out)])
    for number in range(2):
        with Image.open(out / f"frame{number}_labels.png") as labels:
            assert labels.size == (30, 20)
