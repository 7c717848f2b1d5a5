"""All commands, shortened, and all Python code in README and the documents work."""

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from context_agg.cli.compose import compose_config
from context_agg.cli.experiment import experiment
from context_agg.export import export
from context_agg.train import train
from tests.fake_mnist import write_mnist
from tests.fake_pairs import write_camvid, write_folder
from tests.operands import operands

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BATCH = [f"trainer.limit_{stage}_batches=1" for stage in ("train", "val", "test")]
SCENES = [f"data.{part}_scenes=16" for part in ("train", "validation", "test")]
SLOW = {
    "python -m context_agg.check backprop=all",
    "python -m context_agg.evaluate models/scenes_identity",
    "python -m context_agg.train debug=profile",
    "python -m context_agg.tune space.yaml --trials 50 data.batch_size=64 --out outputs/tune/other",
}
WRONG = {"python -m context_agg.check backprop=broken"}  # finds a mistake


def blocks(document: Path, language: str) -> list[str]:
    """The fenced code of a document."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", document.read_text(), re.M | re.S)
    return [code for name, code in fenced if name == language]


def commands(program: str) -> list[str]:
    """The commands in README and docs, without comments and repetitions."""
    lines = (line for doc in DOCUMENTS for block in blocks(doc, "") for line in block.splitlines())
    typed = (line.partition("#")[0].strip() for line in lines)
    return list(dict.fromkeys(line for line in typed if line.startswith(program)))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that contains the files named in README."""
    folder = tmp_path_factory.mktemp("readme")
    write_mnist(folder / "DIR")
    write_camvid(folder / "DIR")
    write_folder(folder / "OWN", 10)
    for name in ("three.png", "photo.jpg"):
        noise = np.random.default_rng(0).integers(0, 256, (40, 30), dtype=np.uint8)
        Image.fromarray(noise).save(folder / name)
    shutil.copytree(ROOT / "models", folder / "models")
    (folder / "docs" / "figures").mkdir(parents=True)
    shutil.copy(ROOT / "docs" / "figures" / "scene.png", folder / "docs" / "figures")
    shutil.copytree(ROOT / "docs" / "figures" / "camvid", folder / "docs" / "figures" / "camvid")
    (space,) = (code for doc in DOCUMENTS for code in blocks(doc, "yaml"))
    (folder / "space.yaml").write_text(space)
    best = folder / "outputs/tune/space/experiment/best.yaml"
    best.parent.mkdir(parents=True)
    best.write_text(experiment("The best", ["optimizer.lr=0.01"]))
    (folder / "frames").mkdir()
    shutil.copy(ROOT / "docs" / "figures" / "scene.png", folder / "frames" / "frame1.png")
    (folder / "mypackage").mkdir()
    (folder / "mypackage" / "module.py").write_text(
        "import torch\n\nfrom context_agg.ops import CONV_OPS\n\n"
        "function = CONV_OPS['manual']\nlayer = torch.nn.functional.linear\n\n"
        "def inputs():\n    return torch.randn(4, 3), torch.randn(2, 3)\n"
    )
    run_dir = folder / "RUN"
    train(compose_config("trainer.max_epochs=1", *BATCH), run_dir)
    for variant in ("backprop-manual_model.init-identity", "backprop-auto_model.init-normal"):
        shutil.copytree(run_dir, folder / f"outputs/sweep_backprop_model.init/{variant}/seed-0")
    return folder


def call(command: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    """Runs `python -m context_agg.NAME ...` in this process; returns its exit code."""
    python, option, module, *arguments = shlex.split(command)
    assert (python.rpartition("/")[2], option) == ("python", "-m")
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(place)
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    try:
        found = importlib.import_module(module)
        if hasattr(found, "__path__"):  # a room that is a command too
            found = importlib.import_module(f"{module}.__main__")
        found.main()
    except SystemExit as exit_:
        return exit_.code
    return 0


def shortened(command: str) -> str:
    """Shortens a training to one batch, and a sweep or a search to one run in this process."""
    if "backprop=all" in command:  # trains five times with each rule
        return " ".join([command, "model.channels=1 data.batch_size=8 images=8", *BATCH])
    if "context_agg.tune" in command:
        out = "" if "--out" in command else "--out outputs/tune/one"  # the other is there already
        return " ".join([command, out, "--trials 1", "trainer.max_epochs=1", *BATCH])
    if "context_agg.train" not in command or "--help" in command or "debug=" in command:
        return command
    command = command.replace("hydra/launcher=joblib", "").replace("seed=0,1,2", "seed=0")
    epochs = "" if "max_epochs" in command else "trainer.max_epochs=1"
    command = re.sub(r"max_epochs=\d+", "max_epochs=1", command)
    few = SCENES if "scenes" in command else []
    return " ".join([command, epochs, *BATCH, *few])


def marked(lines: list[str]) -> list[Any]:
    return [pytest.param(x, marks=[pytest.mark.slow] if x in SLOW else []) for x in lines]


@pytest.mark.parametrize("command", marked(commands("python -m context_agg")))
def test_commands_of_the_package_work(
    command: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "context_agg.tune" in command:
        pytest.importorskip("optuna")
    code = call(shortened(command), place, monkeypatch)
    assert (code in (0, None)) == (command not in WRONG)


@pytest.mark.parametrize("command", commands("make"))
def test_make_knows_its_targets(command: str) -> None:
    made = make("-n", *shlex.split(command)[1:])
    assert made.returncode == 0, made.stderr


@pytest.mark.parametrize("target", ["run", pytest.param("sweep", marks=pytest.mark.slow)])
def test_what_make_calls_works(target: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = make("-n", target).stdout.replace("\\\n", " ").splitlines()
    trainings = [line for line in lines if "context_agg.train" in line]
    assert trainings
    for line in trainings:
        assert call(shortened(line), place, monkeypatch) in (0, None)


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "-C", ROOT, *arguments]
    env = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "ARGS")}
    return subprocess.run(command, capture_output=True, text=True, env=env)


def test_the_error_that_readme_shows(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (shown,) = (block for block in blocks(DOCUMENTS[0], "") if block.startswith("$ "))
    command, message = shown.removeprefix("$ ").splitlines()
    code = call(command, place, monkeypatch)
    assert code not in (0, None)
    assert message in (code, capsys.readouterr().err.strip())


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that contains what docs/commands.md exports."""
    folder = tmp_path_factory.mktemp("exported")
    export(ROOT / "models" / "scenes_identity", folder / "OUT2", "torch")
    return folder


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_python_in_the_documents_runs(
    document: Path, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(exported)
    for code in blocks(document, "python"):
        exec(compile(code, document.name, "exec"), {})


def test_the_exported_program_runs_where_this_package_is_not(exported: Path) -> None:
    (code,) = (b for b in blocks(ROOT / "docs" / "commands.md", "python") if "export.load" in b)
    absent = "import sys\nsys.modules['context_agg'] = None\n"  # importing it is an error now
    shape = "print(*logits.shape)\n"
    result = subprocess.run(
        [sys.executable, "-c", absent + code + shape], cwd=exported, capture_output=True, text=True
    )
    assert (result.stdout, result.stderr) == ("5 11 48 80\n", "")


@pytest.mark.parametrize(("dilation", "side"), [(1, 3), (2, 3), (3, 3), (1, 1), (2, 5)])
def test_the_backward_pass_that_readme_shows_is_autograd_s(dilation: int, side: int) -> None:
    shown: dict[str, Any] = {}
    (code,) = (block for block in blocks(DOCUMENTS[0], "python") if "def backward(" in block)
    exec(compile(code, "README.md", "exec"), shown)
    x, weight, bias = operands(n=2, c=3, k=4, side=side, h=7, w=6)
    padding = dilation * (side // 2)
    y = torch.nn.functional.conv2d(x, weight, bias, padding=padding, dilation=dilation)
    grad_output = torch.randn_like(y)
    true = torch.autograd.grad(y, (x, weight, bias), grad_output)
    for gradient, expected in zip(
        shown["backward"](grad_output, x, weight, dilation), true, strict=True
    ):
        torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mode", ["L", "RGB", "1"])
def test_masks_in_black_and_white_become_0_and_1_as_shown(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    white = np.random.default_rng(0).integers(0, 2, (12, 15), dtype=np.uint8)
    mask = Path("OWN", "masks", "train", "a.png")
    mask.parent.mkdir(parents=True)
    Image.fromarray(255 * white).convert(mode).save(mask)
    (code,) = blocks(ROOT / "docs" / "street.md", "python")
    for _ in range(2):  # again, it changes nothing
        exec(compile(code, "street.md", "exec"), {})
        with Image.open(mask) as image:
            assert image.mode == "L"
            assert np.array_equal(np.asarray(image), white)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_links_and_figures_are_there(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", document.read_text())
    assert [name for name in targets if not (document.parent / name).exists()] == []
