"""Runs on dense data: stages, metrics, pictures, evaluate, predict, and rejected settings."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from context_agg import predict
from context_agg.cli.compose import compose_config
from context_agg.data.digit_scenes import make_scenes
from context_agg.data.digits import digit_sets
from context_agg.data.images import ImageData
from context_agg.data.label_files import overlay_of, write_labels
from context_agg.data.palette import colourise, palette
from context_agg.data.spec import VOID, DataSpec
from context_agg.evaluate import evaluate
from context_agg.runs import classify
from context_agg.runs.classify import memory_of
from context_agg.runs.load import load_network, read_weights
from context_agg.runs.table import write_report
from context_agg.train import main, train
from context_agg.training.learner import Learner
from tests.fake_pairs import turn_behind_the_pixels
from tests.tiny_run import scalars

FEW = ["data.train_scenes=12", "data.validation_scenes=5", "data.test_scenes=5"]
TINY = [
    *FEW,
    "data.size=32",
    "data.digits=2",
    "data.batch_size=4",
    "front_end.widths=[4]",
    "trainer.max_epochs=2",
]


def run(experiment: str, run_dir: Path, *overrides: str) -> dict[str, float]:
    return train(compose_config(f"experiment={experiment}", *TINY, *overrides), run_dir)


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trains the three stages, each starting from the one before."""
    folder = tmp_path_factory.mktemp("stages")
    run("scenes_front_end", folder / "front_end")
    run("scenes_context", folder / "context", f"start_from={folder / 'front_end'}")
    run("scenes_joint", folder / "joint", f"start_from={folder / 'context'}")
    return folder


def test_a_stage_begins_with_the_weights_of_the_one_before(stages: Path) -> None:
    first, second, third = (read_weights(stages / n) for n in ("front_end", "context", "joint"))
    for name, weight in first.items():
        assert torch.equal(second[name], weight)  # frozen
        assert not torch.equal(third[name], weight)  # trained further
    assert first.keys() < second.keys() == third.keys()
    changed = [not torch.equal(second[name], third[name]) for name in second]
    assert all(changed)


def test_a_finished_stage_is_not_repeated(stages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = json.loads((stages / "context" / "metrics.json").read_text())
    again = run("scenes_context", stages / "context", f"start_from={stages / 'front_end'}")
    assert again == recorded
    assert "finished before" in capsys.readouterr().out


def test_scores_and_curves_have_the_iou(stages: Path) -> None:
    scores = json.loads((stages / "context" / "metrics.json").read_text())
    logged = scalars(stages / "context")
    assert len(logged["val/iou"]) == len(logged["val/accuracy"]) == 2
    assert logged["test/iou"] == [pytest.approx(scores["test/iou"])]
    each = [value for name, value in scores.items() if name.startswith("test/iou_")]
    assert scores["test/iou"] == pytest.approx(np.mean(each), rel=1e-6)
    assert "test/iou_background" in scores
    report = write_report(stages).table
    assert report.startswith("| variant | runs | test/iou |")


def test_evaluate_reproduces_the_scores(stages: Path) -> None:
    recorded = json.loads((stages / "joint" / "metrics.json").read_text())
    for name, value in evaluate(stages / "joint").items():
        assert value == pytest.approx(recorded[name], rel=1e-6)


def test_the_scores_are_those_of_the_predictions(stages: Path) -> None:
    """Recounts in numpy from the labels that the saved network predicts."""
    network, spec = load_network(stages / "context")
    images, truth = make_scenes(digit_sets()[2], 5, size=32, digits=2, seed=(0, 2))
    with torch.no_grad():
        labels = network(images.float() / 255).argmax(1)
    counted = truth != VOID
    accuracy = (labels == truth)[counted].double().mean()
    scores = evaluate(stages / "context")
    assert scores["test/accuracy"] == pytest.approx(float(accuracy), rel=1e-6)
    a, b = (labels == 0) & counted, (truth == 0) & counted
    assert scores["test/iou_background"] == pytest.approx(float((a & b).sum() / (a | b).sum()))
    assert len(spec.classes) == 11


def test_tensorboard_shows_image_truth_and_prediction_every_epoch(stages: Path) -> None:
    events = EventAccumulator(str(stages / "context"), size_guidance={"images": 0})
    events.Reload()
    shown = events.Images("val/labels")
    assert [event.step for event in shown] == [2, 5]  # the last of each epoch
    assert (shown[0].width, shown[0].height) == (3 * 34 + 2, 4 * 34 + 2)


@pytest.mark.parametrize("first", ["background", "sky"])
@pytest.mark.parametrize("count", [1, 3, 11, 18, 19, 20, 21, 200])
def test_every_class_is_seen_on_grey_except_the_background(first: str, count: int) -> None:
    classes = [first, *map(str, range(1, count))]
    used = palette(classes)[:count].long()
    assert len({tuple(colour) for colour in used.tolist()}) == count
    black = first == "background"
    assert used[0].tolist() == [0, 0, 0] or not black
    seen = used[int(black) :]
    assert ((seen.amax(1) - seen.amin(1)) >= 35).all()  # not grey, black or white
    assert colourise(torch.tensor([[VOID]]), classes).tolist() == [[[255]]] * 3


def test_predict_writes_labels_and_overlays(
    stages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, _ = make_scenes(digit_sets()[2], 2, size=41, digits=2, seed=(3,))
    images[:, :, 0, 0] = 0
    images[:, :, 20, 20] = 255  # the brightest
    light, dark = images[0, 0, :, :37], 200 - images[1, 0] // 3
    Image.fromarray(light.numpy()).save(tmp_path / "light.png")
    Image.fromarray(dark.numpy()).convert("RGB").save(tmp_path / "dark.png")
    out = tmp_path / "labels"
    files = [str(tmp_path / name) for name in ("light.png", "dark.png")]
    predict.main([str(stages / "context"), *files, "--out", str(out)])
    printed = capsys.readouterr().out
    assert "37x41 grey" in printed
    assert "dark on light, inverted, levels 200 to 115 stretched" in printed
    assert "  0 = background" in printed
    network, spec = load_network(stages / "context")
    stretched = ((200 - dark.double()) * 3).round().byte()
    for name, image in (("light", light), ("dark", stretched)):
        with torch.no_grad():
            expected = network(image[None, None].float() / 255).argmax(1)[0]
        with Image.open(out / f"{name}_labels.png") as labels:
            assert labels.mode == "P"
            assert np.array_equal(np.asarray(labels), expected.numpy())
            colours = np.asarray(labels.convert("RGB"))
        assert np.array_equal(colours, colourise(expected, spec.classes).movedim(0, -1).numpy())
        with Image.open(out / f"{name}_overlay.png") as overlay:
            height, width = image.shape
            black = np.asarray(overlay)[:height, :width][expected.numpy() == 0]
        assert np.array_equal(black[:, 0], image[expected == 0].numpy())


def test_a_folder_of_frames_is_labelled_in_order_and_shown_on_a_sheet(
    stages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames, out = tmp_path / "frames", tmp_path / "out"
    frames.mkdir()
    images, _ = make_scenes(digit_sets()[2], 3, size=70, digits=3, seed=(3,))
    for number, image in zip((10, 2, 1), images, strict=True):
        Image.fromarray(image[0, :, :41].numpy()).save(frames / f"frame{number}.png")
    (frames / "frame3.png").write_text("no image")
    with pytest.raises(SystemExit, match="1 of 4 files have no result"):
        predict.main([str(stages / "joint"), str(frames), "--out", str(out), "--tile", "32"])
    lines = capsys.readouterr().out.splitlines()
    order = [Path(line.split(":")[0]).stem for line in lines if "41x70 grey" in line]
    assert order == ["frame1", "frame2", "frame10"]
    kinds = [f"{name}_{kind}.png" for name in order for kind in ("labels", "overlay")]
    assert sorted(file.name for file in out.iterdir()) == sorted([*kinds, "contact_sheet.png"])
    assert lines[-1] == str(out / "contact_sheet.png")
    sizes = set()
    for name in order:
        with Image.open(out / f"{name}_overlay.png") as overlay:
            sizes.add(overlay.size)
    assert len(sizes) == 1


def test_labels_in_tiles_are_those_of_the_whole_image(stages: Path, tmp_path: Path) -> None:
    network, spec = load_network(stages / "joint")
    images, _ = make_scenes(digit_sets()[2], 1, size=131, digits=4, seed=(5,))
    Image.fromarray(images[0, 0, :, :94].numpy()).save(tmp_path / "scene.png")
    network.double()
    whole, tiled = (
        classify.label_pixels(network, spec, tmp_path / "scene.png", tile)[2] for tile in (131, 32)
    )
    assert torch.equal(whole, tiled)
    assert len(whole.unique()) > 1


@pytest.mark.parametrize(("size", "scale"), [((47, 131), 0.41), ((94, 61), 1.7)])
def test_a_scaled_image_is_labelled_as_one_that_has_been_scaled_before(
    size: tuple[int, int], scale: float, stages: Path, tmp_path: Path
) -> None:
    """Pillow scales the image; its labels are repeated where a pixel's centre falls on them."""
    network, spec = load_network(stages / "joint")
    images, _ = make_scenes(digit_sets()[2], 1, size=131, digits=4, seed=(5,))
    images[:, :, :2] = torch.tensor([0, 255], dtype=torch.uint8)[:, None]  # are not stretched
    own = Image.fromarray(images[0, 0, : size[1], : size[0]].numpy())
    own.save(tmp_path / "own.png")
    width, height = (round(scale * side) for side in size)
    small = np.array(own.resize((width, height), Image.Resampling.BILINEAR))
    said, image, labels = classify.label_pixels(network, spec, tmp_path / "own.png", 32, scale)
    assert said.endswith(f", scaled to {width}x{height}")
    assert np.array_equal(image[0], np.asarray(own))
    with torch.no_grad():
        answer = network(torch.from_numpy(small)[None, None].float() / 255).argmax(1)[0]
    rows, columns = (
        ((torch.arange(n) + 0.5) * m / n).long()
        for n, m in zip(size[::-1], answer.shape, strict=True)
    )
    assert torch.equal(labels.long(), answer[rows][:, columns])
    assert len(labels.unique()) > 1


def test_a_notice_names_sizes_and_a_scale_where_the_image_is_far_from_the_training_images() -> None:
    spec = DataSpec("CamVid", 3, (180, 240), ("sky", "road"), dense=True)
    for size, scale in (((150, 121), 1), ((480, 480), 1), ((1500, 2000), 0.12), ((90, 120), 1)):
        assert classify.size_notice(spec, torch.empty(3, *size), scale) is None
    said = classify.size_notice(spec, torch.empty(3, 2000, 1500), 1)
    assert said is not None
    assert "240x180" in said
    assert "1500x2000;" in said
    assert said.endswith("try --scale 0.12")
    said = classify.size_notice(spec, torch.empty(3, 90, 119), 1)
    assert said is not None
    assert said.endswith("try --scale 2")
    assert "--scale 0.5;" in str(classify.size_notice(spec, torch.empty(3, 1000, 2000), 0.5))


def test_predict_writes_the_labels_of_a_scaled_image_in_its_own_size(
    stages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, _ = make_scenes(digit_sets()[2], 1, size=131, digits=4, seed=(5,))
    Image.fromarray(images[0, 0].numpy()).save(tmp_path / "big.png")
    out = tmp_path / "out"
    command = [str(stages / "joint"), str(tmp_path / "big.png"), "--out", str(out)]
    predict.main(command)
    assert "try --scale 0.24" in capsys.readouterr().out
    predict.main([*command, "--scale", "0.24"])
    printed = capsys.readouterr().out
    assert ", scaled to 31x31" in printed
    assert "--scale" not in printed
    with Image.open(out / "big_labels.png") as labels:
        assert labels.size == (131, 131)


def test_a_photograph_that_its_camera_turned_is_labelled_upright(
    stages: Path, tmp_path: Path
) -> None:
    """Even if the file tells only behind its pixels that it is turned."""
    network, spec = load_network(stages / "joint")
    upright = Image.open(scene(tmp_path / "upright.png")).crop((0, 0, 32, 21))
    upright.save(tmp_path / "upright.png")
    upright.rotate(90, expand=True).save(tmp_path / "turned.png")
    turn_behind_the_pixels(tmp_path / "turned.png")
    expected, found = (
        classify.label_pixels(network, spec, tmp_path / f"{name}.png")[1:]
        for name in ("upright", "turned")
    )
    assert found[1].shape == (21, 32)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_a_scaled_image_of_too_many_pixels_is_refused(stages: Path, tmp_path: Path) -> None:
    network, spec = load_network(stages / "context")
    Image.linear_gradient("L").resize((2000, 1000)).save(tmp_path / "x.png")
    with pytest.raises(
        ValueError, match=r"scaled by 8 it has 16000x8000 pixels, more than 100 mil"
    ):
        classify.label_pixels(network, spec, tmp_path / "x.png", scale=8)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["scene.png", "--scale", "0"], "--scale=0.0 must be above 0, and 100 at the most"),
        (["scene.png", "--scale", "nan"], "--scale=nan must be above 0, and 100 at the most"),
        (["scene.png", "--scale", "1e308"], "must be above 0, and 100 at the most"),
        (["scene.png", "--tile", "31"], "--tile=31 must be a whole number, 32 or more"),
        (["scene.png", "--tile", "0"], "--tile=0 must be a whole number, 32 or more"),
        (["."], "holds no images"),
        (["frames", "--out", "frames"], "the folder of the image frames/frame1.png; name another"),
        (["frames/frame1.png", "--out", "frames"], "--out=frames is the folder of the image"),
        (["frames/frame1.png", "--out", "frames/../frames"], "is the folder of the image"),
        (["frame1.png", "--out", "."], "--out=. is the folder of the image frame1.png"),
        (["frames", "frames"], "have the same name"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_anything_is_written(
    arguments: list[str], says: str, stages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("frames").mkdir()
    scene(Path("frames", "frame1.png"))
    with pytest.raises(SystemExit, match=says):
        predict.main([str(stages / "context"), *arguments])
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["frame1.png", "frames"]


def test_an_image_of_the_user_is_never_overwritten(
    stages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an earlier call wrote is, unless it is an image to be labelled."""
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        predict.main([str(stages / "context"), str(scene(Path("a.png")))])
    labels = Path("predictions", "a_labels.png")
    Path("link.png").symlink_to(labels)
    before = labels.read_bytes()
    for also in (str(labels), "link.png"):
        with pytest.raises(SystemExit, match=f"--out=predictions is the folder of .* {also}; name"):
            predict.main([str(stages / "context"), "a.png", also])
    assert labels.read_bytes() == before


def test_predict_refuses_before_it_writes(
    stages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"a\.png and b/a\.jpg have the same name"):
        predict.main([str(stages / "context"), "a.png", "c.png", "b/a.jpg"])
    assert list(tmp_path.iterdir()) == []


def scene(file: Path) -> Path:
    images, _ = make_scenes(digit_sets()[2], 1, size=32, digits=2, seed=(3,))
    Image.fromarray(images[0, 0].numpy()).save(file)
    return file


@pytest.mark.parametrize("out", ["file", "file/deep", "/proc", "/proc/labels"])
def test_a_place_that_cannot_be_written_is_refused_before_the_network_runs(
    out: str,
    stages: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if out.startswith("/proc") and not Path("/proc/self").exists():
        pytest.skip("needs Linux's /proc")
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")
    monkeypatch.setattr("context_agg.runs.classify.label_pixels", None)
    with pytest.raises(SystemExit, match=rf"--out={out}: cannot write to .*; name another folder"):
        predict.main([str(stages / "context"), "scene.png", "--out", out])
    assert capsys.readouterr().err == ""
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert Path("file").read_text() == "mine"


def test_labels_are_there_whatever_becomes_of_the_next_image(
    stages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [scene(tmp_path / "a.png"), tmp_path / "nowhere.png", scene(tmp_path / "c.png")]
    out = tmp_path / "out"
    (out / "c_overlay.png").mkdir(parents=True)  # so that it cannot be written
    with pytest.raises(SystemExit, match="2 of 3 files have no result"):
        predict.main([str(stages / "context"), *map(str, files), "--out", str(out)])
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"there is no file {files[1]}"
    assert second.startswith(f"cannot write {out / 'c_overlay.png'}: ")
    written = {"a_labels.png", "a_overlay.png", "c_labels.png", "c_overlay.png"}
    assert {file.name for file in out.iterdir()} == written  # and nothing half-written


def test_an_interrupted_label_file_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, labels = torch.zeros(1, 9, 9, dtype=torch.uint8), torch.ones(9, 9, dtype=torch.uint8)
    overlay = overlay_of(image, labels, "abc")
    written = write_labels(tmp_path / "x", labels, overlay, "abc")
    before = [file.read_bytes() for file in written]

    def half(picture: Image.Image, file: Path, kind: str) -> None:
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(KeyboardInterrupt):
        write_labels(tmp_path / "x", 2 * labels, overlay, "abc")
    assert [file.read_bytes() for file in sorted(tmp_path.iterdir())] == before


@pytest.mark.parametrize("first", ["background", "sky"])
def test_an_overlay_shows_the_classes_on_the_image_but_not_the_background(first: str) -> None:
    image = torch.arange(0, 240, 20, dtype=torch.uint8).reshape(3, 2, 2)
    labels = torch.tensor([[0, 1], [2, 0]], dtype=torch.uint8)
    mixed = 0.4 * image.double() + 0.6 * colourise(labels, [first, "b", "c"]).double()
    coloured = torch.ones_like(labels) if first == "sky" else labels
    expected = torch.where(coloured > 0, mixed, image.double()).movedim(0, -1)
    shown = overlay_of(image, labels, [first, "b", "c"])
    np.testing.assert_allclose(np.asarray(shown), expected, atol=1)


def test_labelling_that_may_take_too_much_memory_is_refused(
    stages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, spec = load_network(stages / "context")
    file = scene(tmp_path / "scene.png")
    needed = memory_of(network, (1, 1, 32, 32))
    monkeypatch.setattr(classify, "MOST_MEMORY", needed)
    classify.label_pixels(network, spec, file)
    monkeypatch.setattr(classify, "MOST_MEMORY", needed - 1)
    with pytest.raises(
        ValueError, match=r"scene\.png: labelling a part of 32x32 .* no smaller --tile is enough"
    ):
        classify.label_pixels(network, spec, file)  # which sees 67 pixels from any of the 32


def test_the_memory_of_a_network_is_counted_without_computing() -> None:
    """Two maps of 10^5 x 10^5 pixels in, three out, 4 bytes each."""
    network = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1), torch.nn.Conv2d(3, 1, 1))
    assert memory_of(network, (1, 2, 10**5, 10**5)) == 3.5 * (2 + 3) * 4 * 10**10


PEAK = """
import re, sys
from pathlib import Path
import torch
from context_agg.networks.context_net import ContextNet
from context_agg.runs.classify import memory_of

def used(name):
    return int(re.search(name + r":\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

network = ContextNet(
    int(sys.argv[1]), [1, 2, 16], eval(sys.argv[2]), padding=sys.argv[3],
    in_channels=3, image_size=(64, 64), num_classes=int(sys.argv[1]), dense=True,
)
x = torch.ones(1, 3, 900, 900)
before = used("VmRSS")
with torch.inference_mode():
    network(x)
print((used("VmHWM") - before) / memory_of(network, tuple(x.shape)))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux's /proc")
@pytest.mark.parametrize("network", [("21", "[1,1,1]", "once"), ("4", "[2,8,8]", "same")])
def test_a_network_takes_no_more_memory_than_is_said(network: tuple[str, str, str]) -> None:
    command = [sys.executable, "-c", PEAK, *network]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 0.3 < float(result.stdout) < 1


@pytest.mark.parametrize(("name", "value"), [("out", "x"), ("tile", "64")])
def test_out_and_tile_are_for_dense_runs(name: str, value: str) -> None:
    with pytest.raises(SystemExit, match=rf"--{name}={value}: .* does not label pixels"):
        predict.main(["models/basic_mnist", "x.png", f"--{name}", value])


def test_a_classifier_takes_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene(tmp_path / "scene.png")
    with pytest.raises(SystemExit, match="1 of 1 files have no result"):
        predict.main(["models/basic_mnist", str(tmp_path)])
    assert capsys.readouterr().err == f"{tmp_path} is a folder; name image files\n"


MISTAKES = [
    ("scenes_context", ["start_from=FOLDER/nowhere"], "there is no folder"),
    ("scenes_context", [], "start_from= must be the directory of a run: start_from=DIR"),
    ("scenes_joint", [], "start_from= must be the directory of a run: start_from=DIR"),
    ("scenes_joint", ["start_from=FOLDER/front_end"], "the run has no context"),
    ("scenes_context", ["start_from=FOLDER/context"], "the run has trained context too, which st"),
    ("scenes_front_end", ["start_from=FOLDER/context"], "context too, which this network does not"),
    ("scenes_context", ["start_from=models/basic_mnist"], "trained on MNIST with dense=False"),
    (
        "scenes_context",
        ["start_from=FOLDER/front_end", "front_end.widths=[5]"],
        "a layer of another size: size mismatch for front_end.layers.0.weight",
    ),
    (
        "scenes_context",
        ["start_from=FOLDER/front_end", "front_end.widths=[4,4]"],
        "other layers in front_end",
    ),
    (
        "scenes_context",
        ["start_from=FOLDER/front_end", "fresh=[contex]"],
        "fresh=contex: the parts of this",
    ),
    ("scenes_joint", ["start_from=FOLDER/context", "model=plain"], "model.dilations=[1, 1, 2, 4"),
    ("scenes_joint", ["start_from=FOLDER/context", "front_end.lift=2"], "front_end.lift=0, this"),
    (
        "scenes_front_end",
        ["front_end.stride=128", "front_end.widths=[4,4,4,4,4,4,4]"],
        "front_end: the image is 64x64, too small for",
    ),
    (
        "scenes_front_end",
        ["callbacks.best_checkpoint.monitor=val/acuracy"],
        "unknown monitor='val/acuracy'; choose one of",
    ),
    ("scenes_context", ["start_from=null"], "has no effect without start_from=DIR"),
    ("scenes_context", ["start_from=x", "model.channels=16"], "set model.channels=null"),
    ("scenes_front_end", ["loss=binary_on_softmax"], "needs a class per image, not one per pixel"),
    ("scenes_front_end", ["data=digits"], "take dense data"),
    ("scenes_front_end", ["model=linear"], "front_end: this model has no front end"),
    ("scenes_front_end", ["~front_end"], "choose one with front_end=small"),
    ("scenes_front_end", ["front_end.stride=0"], "front_end: stride=0 must be"),
    ("scenes_front_end", ["data.digits=0"], "data: digits=0 must be"),
]


@pytest.mark.parametrize(("experiment", "overrides", "says"), MISTAKES)
def test_a_mistake_is_one_message(
    experiment: str,
    overrides: list[str],
    says: str,
    stages: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = Path(__file__).parents[2]
    small = TINY if "FOLDER" in str(overrides) else FEW
    tiny = [] if "data=digits" in overrides else small
    named = [line.replace("FOLDER", str(stages)) for line in overrides]
    named = [line.replace("models/", f"{root}/models/") for line in named]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train", f"experiment={experiment}", *tiny, *named])
    with pytest.raises(SystemExit) as error:
        main()
    assert error.value.code not in (0, None)
    assert says in f"{error.value.code} {capsys.readouterr().err}"
    assert list(tmp_path.iterdir()) == []


def pair(images: tuple[int, ...], target: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(images, dtype=torch.uint8), torch.as_tensor(target)


@pytest.mark.parametrize(
    ("target", "dense", "says"),
    [
        (
            torch.full((2, 4, 5), 3),
            True,
            "x: train image 0 has the label 3; there are 3 classes, 0 to 2, and 255",
        ),
        (torch.full((2, 4, 5), -1), True, "x: train image 0 has the label -1"),
        (
            torch.zeros(2, 5, 4),
            True,
            r"targets have shape \(2, 5, 4\), .* every pixel needs \(2, 4, 5\)",
        ),
        (torch.zeros(2), True, "a class for every pixel"),
        (torch.zeros(2, 4, 5), False, "a class for every image"),
        (torch.tensor([0, 255]), False, "x: train image 1 has the label 255"),
        (torch.zeros(3), False, "a class for every image"),
        (torch.full((2, 4, 5), 255), True, "image 0 has no pixel with a class"),
    ],
)
def test_targets_that_do_not_fit_are_refused(target: torch.Tensor, dense: bool, says: str) -> None:
    good = pair((2, 1, 4, 5), torch.zeros((2, 4, 5) if dense else 2))
    options: dict[str, Any] = {"batch_size": 1, "held_out": "validation", "seed": 0}
    with pytest.raises(ValueError, match=says):
        ImageData(
            pair((2, 1, 4, 5), target), good, good, name="x", classes="abc", dense=dense, **options
        )


def test_void_pixels_do_not_count() -> None:

    data = compose_config("data=digit_scenes", "data.train_scenes=1").data
    assert data.size == 64
    spec = ImageData(
        *[pair((1, 1, 4, 5), torch.zeros(1, 4, 5))] * 3,
        name="x",
        classes="ab",
        dense=True,
        batch_size=1,
        held_out="validation",
        seed=0,
    ).spec
    network = torch.nn.Conv2d(1, 2, 1)
    learner = Learner(network, torch.optim.SGD(network.parameters()), spec)
    x, target = torch.rand(1, 1, 4, 5), torch.zeros(1, 4, 5, dtype=torch.long)
    target[:, :, 2:] = VOID
    counted = learner.loss(network(x[..., :2]), target[..., :2])
    assert torch.equal(learner.loss(network(x), target), counted)
