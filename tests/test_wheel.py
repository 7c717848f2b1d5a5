"""The wheel contains what the commands need: they run from it, without access to the source."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
MINE = """\
# @package _global_
defaults:
  - override /model: plain
model:
  channels: 3
"""


def build(source: Path, folder: Path) -> Path:
    """The wheel that pip builds from a source folder or archive, without a network."""
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir"]
    subprocess.run([*PIP, "wheel", "--quiet", *options, folder, source], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the installed package and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    options = ["--no-deps", "--no-index", "--target"]
    subprocess.run([*PIP, "install", "--quiet", *options, folder, wheel], check=True)
    return folder


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """The working folder of a user without a clone."""
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def python(installed: Path, folder: Path, *arguments: str | Path) -> str:
    """What Python prints in that folder, with the package from the wheel.

    With -S no .pth file is read, so an editable installation is not found; with -P the working
    folder is not searched.
    """
    paths = sysconfig.get_paths()
    search = os.pathsep.join([str(installed), paths["purelib"], paths["platlib"]])
    result = subprocess.run(
        [sys.executable, "-S", "-P", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": search, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_the_package_and_its_configuration_and_nothing_else(wheel: Path) -> None:
    package = {
        str(file.relative_to(ROOT))
        for pattern in ("*.py", "*.cpp", "*.html", "py.typed")
        for file in (ROOT / "context_agg").rglob(pattern)
    }
    conf = {f"context_agg/{file.relative_to(ROOT)}" for file in (ROOT / "conf").rglob("*.yaml")}
    assert "context_agg/py.typed" in package
    assert "context_agg/conf/train.yaml" in conf
    assert {name for name in names(wheel) if ".dist-info/" not in name} == package | conf


def test_the_source_archive_gives_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    hatch = [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory"]
    subprocess.run([*hatch, tmp_path], cwd=ROOT, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    assert names(build(archive, tmp_path)) == names(wheel)


def test_the_module_runs_from_the_wheel(installed: Path, empty: Path) -> None:
    code = f"""
import sys
import torch
import context_agg
from context_agg import ContextModule
print(context_agg.__file__, {str(ROOT)!r} in sys.path)
x = torch.rand(1, 3, 40, 50)
print(torch.allclose(ContextModule.basic(3)(x), x, atol=1e-6))
"""
    found, is_identity = python(installed, empty, "-c", code).splitlines()
    assert found == f"{installed / 'context_agg' / '__init__.py'} False"
    assert is_identity == "True"


def test_help_lists_the_configuration_in_the_wheel(installed: Path, empty: Path) -> None:
    printed = python(installed, empty, "-m", "context_agg.train", "--help")
    (models,) = (line for line in printed.splitlines() if line.startswith("model: "))
    choices = models.removeprefix("model: ").split(", ")
    assert choices == sorted(file.stem for file in (ROOT / "conf" / "model").glob("*.yaml"))


def test_a_run_is_written_to_the_working_folder(installed: Path, empty: Path) -> None:
    before = set(installed.rglob("*.yaml"))
    printed = python(installed, empty, "-m", "context_agg.train", "debug=step")
    assert "manual (compiled kernels)" in printed  # the wheel holds their source
    assert [path.name for path in empty.iterdir()] == ["outputs"]
    (metrics,) = empty.glob("outputs/debug/*/metrics.json")
    assert (metrics.parent / ".hydra" / "config.yaml").is_file()
    assert set(installed.rglob("*.yaml")) == before


def test_predict_reads_a_model_that_a_user_has_copied(
    installed: Path, empty: Path, tmp_path: Path
) -> None:
    model = tmp_path / "models" / "basic_mnist"
    shutil.copytree(ROOT / "models" / "basic_mnist", model)
    image = Image.new("L", (60, 60), 255)
    ImageDraw.Draw(image).line([(33, 10), (28, 50)], fill=0, width=5)  # a one
    image.save(tmp_path / "one.png")
    command = ["-m", "context_agg.predict", model, tmp_path / "one.png"]
    _, best, *_ = python(installed, empty, *command).splitlines()
    assert best.split()[0] == "1"


def test_a_folder_of_the_users_own_adds_to_the_configuration(
    installed: Path, empty: Path, tmp_path: Path
) -> None:
    (tmp_path / "MYCONF" / "experiment").mkdir(parents=True)
    (tmp_path / "MYCONF" / "experiment" / "mine.yaml").write_text(MINE)
    arguments = ["--config-dir", tmp_path / "MYCONF", "experiment=mine", "debug=step"]
    printed = python(installed, empty, "-m", "context_agg.train", *arguments)
    assert "plain" in printed
    assert "C = 3" in printed
    assert len(list(empty.glob("outputs/debug/*/metrics.json"))) == 1
