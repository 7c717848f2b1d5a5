"""Networks leave this package: as programs of PyTorch, with a model card."""

import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from scipy.stats import t
from torch import nn
from torch.export.passes import move_to_device_pass

from context_agg import export
from context_agg.cli.compose import compose_config
from context_agg.data.spec import DataSpec
from context_agg.runs import program
from context_agg.runs.load import load_network

MODELS = Path(__file__).parents[2] / "models"
DIGITS = DataSpec("digits", 1, (28, 28), tuple("0123456789"))
SCENES = DataSpec("scenes", 3, (13, 17), ("background", "a", "b"), dense=True)
NARROW_VGG = ("front_end.widths=[2,3,3,4,4,5]", "front_end.weights=random")


def build(spec: DataSpec, *overrides: str) -> nn.Module:
    cfg = compose_config(*overrides)
    network: nn.Module = instantiate(cfg.model, **spec.shapes)
    return network.eval()


def loaded(network: nn.Module, spec: DataSpec, folder: Path) -> nn.Module:
    file = folder / "model.pt2"
    file.write_bytes(program.to_bytes(network, spec))
    program.check_same(file, network, spec)
    return torch.export.load(file).module()


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=basic", "model.init=normal"],
        ["model=basic", "model.channels=2", "model.padding=once", "model.hidden=[5]"],
        ["model=basic", "model.dilations=[1,2]", "model.widths=[1,1]", "model.padding=valid"],
        ["model=large", "model.channels=1"],
        ["model=plain"],
        ["model=linear"],
        ["model=lecture"],
        ["model=post", "model.shortcut.scale=0.1", "backprop=broken"],
    ],
    ids=lambda overrides: "-".join(overrides[:2]),
)
def test_a_classifier_s_program_takes_batches_of_any_size(
    overrides: list[str], tmp_path: Path
) -> None:
    network = build(DIGITS, *overrides)
    network(torch.rand(2, 1, 28, 28)).sum().backward()  # as after training
    exported = loaded(network, DIGITS, tmp_path)
    for count in (0, 1, 2, 7):
        x = torch.rand(count, 1, 28, 28)
        torch.testing.assert_close(exported(x), network(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "overrides",
    [
        ["front_end=small", "model.channels=null"],
        ["front_end=small", "model.channels=null", "front_end.stride=2", "front_end.lift=2.0"],
        ["front_end=small", "model.channels=null", "model.padding=once"],
        ["model=front_end", "front_end=small", "front_end.stride=3"],
        ["model.channels=4"],
    ],
    ids=lambda overrides: "-".join(overrides),
)
def test_a_dense_network_s_program_takes_images_of_any_size(
    overrides: list[str], tmp_path: Path
) -> None:
    network = build(SCENES, *overrides).double()
    exported = loaded(network, SCENES, tmp_path)
    for count, height, width in ((1, 13, 17), (2, 40, 31), (3, 7, 64), (1, 6, 6), (0, 9, 8)):
        x = torch.rand(count, 3, height, width, dtype=torch.float64)
        torch.testing.assert_close(exported(x), network(x), rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(16, 24), (13, 24)], ids=str)
@pytest.mark.parametrize("upsampling", ["bilinear", "deconvolution", "probabilities"])
def test_a_program_of_vgg_takes_images_of_any_size(
    upsampling: str, size: tuple[int, int], tmp_path: Path
) -> None:
    spec = replace(SCENES, image_size=size)
    overrides = ["front_end=vgg16", *NARROW_VGG, f"front_end.upsampling={upsampling}"]
    network = build(spec, "model=front_end", *overrides).double()
    exported = loaded(network, spec, tmp_path)
    for count, height, width in ((1, 16, 24), (2, 40, 31), (3, 9, 64)):
        x = torch.rand(count, 3, height, width, dtype=torch.float64)
        torch.testing.assert_close(exported(x), network(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("overrides", "least"),
    [
        (["model.channels=4"], 1),
        (["front_end=small", "model.channels=null"], 1),
        (["front_end=small", "model.channels=null", "front_end.stride=2"], 4),
        (["front_end=small", "front_end.stride=4", "model=front_end"], 8),
        pytest.param(
            ["front_end=vgg16", "model=front_end", *NARROW_VGG], 9, marks=pytest.mark.slow
        ),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, list) else str(value),
)
def test_the_smallest_image_of_a_program_is_found(
    overrides: list[str], least: int, tmp_path: Path
) -> None:
    """Class maps that are smaller than the image need two entries a side."""
    network, file = build(SCENES, *overrides).double(), tmp_path / "model.pt2"
    file.write_bytes(program.to_bytes(network, SCENES))
    assert program.check_same(file, network, SCENES) == least
    exported = torch.export.load(file).module()
    for height, width in ((least, least), (least, 31), (23, least), (least + 1, least + 2)):
        x = torch.rand(2, 3, height, width, dtype=torch.float64)
        torch.testing.assert_close(exported(x), network(x), rtol=1e-12, atol=1e-12)
    for height, width in ((least - 1, 31), (31, least - 1)) if least > 1 else ():
        with pytest.raises(AssertionError, match="Guard failed"):
            exported(torch.rand(2, 3, height, width, dtype=torch.float64))


@pytest.mark.parametrize(
    "upsampling",
    [
        "deconvolution",
        *(pytest.param(x, marks=pytest.mark.slow) for x in ("bilinear", "probabilities")),
    ],
)
def test_a_program_of_vgg_can_be_moved_to_another_device(upsampling: str, tmp_path: Path) -> None:
    """The meta device stands for any other; the operations of a device check their operands."""
    overrides = ["front_end=vgg16", *NARROW_VGG, f"front_end.upsampling={upsampling}"]
    network, file = build(SCENES, "model=front_end", *overrides), tmp_path / "model.pt2"
    file.write_bytes(program.to_bytes(network, SCENES))
    x = torch.rand(2, 3, 19, 24, device="meta")
    moved = move_to_device_pass(torch.export.load(file), "meta")
    assert moved.module()(x).shape == (2, 3, 19, 24)
    assert "cpu" not in str(moved.graph)
    with pytest.raises(RuntimeError, match="not on the expected device"):
        torch.export.load(file).module().to("meta")(x)


@pytest.mark.parametrize(
    ("model", "form", "size"),
    [
        ("camvid_front_end", "torch", "of any number and size from 8 pixels a side, float32"),
        ("camvid_front_end", "safetensors", "of any number and size, float32"),
        ("basic_mnist", "torch", "of any number, float32"),
    ],
)
def test_a_card_says_what_images_the_file_takes(
    model: str, form: str, size: str, tmp_path: Path
) -> None:
    export.export(MODELS / model, tmp_path / "out", form)
    assert size in (tmp_path / "out" / "README.md").read_text()


def test_a_program_knows_no_path_of_the_machine_it_was_made_on(tmp_path: Path) -> None:
    file = tmp_path / "model.pt2"
    file.write_bytes(program.to_bytes(build(DIGITS), DIGITS))
    here = str(Path(__file__).parents[2]).encode()
    libraries = str(Path(torch.__file__).parents[1]).encode()
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            content = archive.read(name)
            assert here not in content
            assert libraries not in content


def test_a_run_that_trained_channels_last_is_exported_without_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch warns that such weights might be slices of others; here a warning is an error."""
    network, spec = load_network(MODELS / "camvid")
    network.to(memory_format=torch.channels_last)
    monkeypatch.setattr("context_agg.runs.load.load_network", lambda _: (network, spec))
    export.export(MODELS / "camvid", tmp_path / "out", "torch")
    x = torch.rand(2, 3, 20, 28)
    with torch.no_grad():
        exported = torch.export.load(tmp_path / "out" / "model.pt2").module()(x)
        torch.testing.assert_close(exported, load_network(MODELS / "camvid")[0](x))


@pytest.mark.parametrize("change", ["dilation", "weight", "not finite"])
def test_a_program_that_is_not_the_network_is_not_exported(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_bytes = program.to_bytes

    def wrong(network: Any, spec: DataSpec) -> bytes:
        layer = network.context.convolutions[3]
        kept = layer.dilation, layer.padding, layer.weight.detach().clone()
        if change == "dilation":
            layer.dilation = (1, 1)
        else:
            layer.weight.data[0, 0, 1, 1] += 0.01 if change == "weight" else float("nan")
        try:
            return to_bytes(network, spec)
        finally:
            layer.dilation, layer.padding = kept[:2]
            layer.weight.data = kept[2]

    monkeypatch.setattr(program, "to_bytes", wrong)
    with pytest.raises(SystemExit, match="the exported program is not the network"):
        export.main([str(MODELS / "scenes_identity"), str(tmp_path / "out"), "--format", "torch"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("model", ["basic_mnist", "scenes_identity"])
@pytest.mark.parametrize("form", ["safetensors", "torch"])
def test_the_code_on_a_card_loads_the_network(model: str, form: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export.main([str(MODELS / model), str(out), "--format", form])
    card = (out / "README.md").read_text()
    code = card.partition("```python\n")[2].partition("```")[0]
    network, spec = load_network(MODELS / model)
    x = torch.zeros(2, spec.in_channels, *spec.image_size)
    np.save(tmp_path / "expected.npy", network(x).detach().numpy())
    absent = "import sys\nsys.modules['context_agg'] = None\n" if form == "torch" else ""
    compare = (
        "import numpy\nexpected = numpy.load('../expected.npy')\n"
        "print(abs(logits.detach().numpy() - expected).max() <= 1e-5 * abs(expected).max())\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", absent + code + compare], cwd=out, capture_output=True, text=True
    )
    others = [line for line in result.stderr.splitlines() if not line.startswith("compiled ")]
    assert (result.stdout, others) == ("True\n", [])


def sweep(folder: Path, accuracies: list[float]) -> None:
    """Exported runs that differ in the seed, beside each other as in a sweep."""
    for seed, accuracy in enumerate(accuracies):
        run_dir = folder / f"seed-{seed}"
        shutil.copytree(MODELS / "basic_mnist", run_dir)
        cfg = OmegaConf.load(run_dir / ".hydra" / "config.yaml")
        cfg.seed = seed
        OmegaConf.save(cfg, run_dir / ".hydra" / "config.yaml")
        scores = json.loads((run_dir / "metrics.json").read_text())
        scores["test/accuracy"] = accuracy
        (run_dir / "metrics.json").write_text(json.dumps(scores))


def row(card: Path, score: str) -> list[str]:
    (line,) = (line for line in card.read_text().splitlines() if line.startswith(f"| {score} |"))
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_a_card_has_the_mean_and_interval_of_the_seeds_beside_it(tmp_path: Path) -> None:
    accuracies = [0.91, 0.94, 0.985]
    sweep(tmp_path, accuracies)
    export.export(tmp_path / "seed-1", tmp_path / "out")
    spread = np.std(accuracies, ddof=1) / np.sqrt(3)
    low, high = t.interval(0.95, 2, loc=np.mean(accuracies), scale=spread)
    card = tmp_path / "out" / "README.md"
    assert row(card, "test/accuracy") == ["0.9400", f"0.9450 ± {(high - low) / 2:.4f}"]
    assert row(card, "score") == ["this network", "mean and 95 % interval, seeds 0, 1, 2"]


def test_what_follows_from_the_seed_may_differ_with_it(tmp_path: Path) -> None:
    sweep(tmp_path, [0.91, 0.94, 0.985])
    for seed, start in enumerate(("runs/seed-${seed}", "runs/seed-${seed}", "runs/seed-0")):
        settings = tmp_path / f"seed-{seed}" / ".hydra" / "config.yaml"
        settings.write_text(f"{settings.read_text()}start_from: {start}\n")
    export.export(tmp_path / "seed-1", tmp_path / "out")
    assert row(tmp_path / "out" / "README.md", "score")[1] == "mean and 95 % interval, seeds 0, 1"


def test_only_finished_runs_with_the_same_settings_are_seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(tmp_path, [0.91, 0.94, 0.985, 0.99, 0.9])
    settings = tmp_path / "seed-2" / ".hydra" / "config.yaml"
    settings.write_text(settings.read_text().replace("lr: 0.001", "lr: 0.002"))
    (tmp_path / "seed-3" / "metrics.json").unlink()  # cut off
    (tmp_path / "seed-4" / "metrics.json").write_text("{")
    export.export(tmp_path / "seed-0", tmp_path / "out")
    assert row(tmp_path / "out" / "README.md", "score")[1] == "mean and 95 % interval, seeds 0, 1"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("left out of the intervals: ")
    assert str(Path("seed-4", "metrics.json")) in line


@pytest.mark.parametrize("seed", ["0", "???", "[1, 2]", "word"])
def test_a_copy_and_a_run_without_a_seed_do_not_count(seed: str, tmp_path: Path) -> None:
    sweep(tmp_path, [0.91, 0.94, 0.1])
    settings = tmp_path / "seed-2" / ".hydra" / "config.yaml"
    settings.write_text(settings.read_text().replace("seed: 2", f"seed: {seed}", 1))
    export.export(tmp_path / "seed-0", tmp_path / "out")
    card = tmp_path / "out" / "README.md"
    assert row(card, "score")[1] == "mean and 95 % interval, seeds 0, 1"
    assert row(card, "test/accuracy")[0] == "0.9100"


def test_a_run_alone_has_no_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep(tmp_path, [0.91])
    monkeypatch.chdir(tmp_path / "seed-0")  # the directory's name is not in the path then
    export.export(Path("."), tmp_path / "out")
    assert row(tmp_path / "out" / "README.md", "test/accuracy") == ["0.9100"]


def test_a_card_shows_no_folder_of_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONTEXT_AGG_DATA", "/a/private/folder")
    export.export(MODELS / "basic_mnist", tmp_path / "out")
    assert "private" not in (tmp_path / "out" / "README.md").read_text()


def test_a_card_states_the_terms_of_data_that_are_for_research(tmp_path: Path) -> None:
    for model in ("camvid", "basic_mnist"):
        export.export(MODELS / model, tmp_path / model)
    stated = "CamVid is for research; so is this network."
    assert stated in (tmp_path / "camvid" / "README.md").read_text()
    assert "research" not in (tmp_path / "basic_mnist" / "README.md").read_text()
