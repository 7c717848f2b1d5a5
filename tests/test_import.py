"""An import or a command loads only the libraries that it needs."""

import subprocess
import sys
from pathlib import Path

import pytest

LIBRARIES = {
    "torch",
    "lightning",
    "torchvision",
    "torchmetrics",
    "sklearn",
    "matplotlib",
    "tensorboard",
    "hydra",
}
ROOT = Path(__file__).parents[1]


def loaded(code: str, *arguments: str) -> set[str]:
    """The libraries that a piece of Python code has imported by its end."""
    program = f"try:\n    {code}\nfinally:\n    import sys; print('LOADED', *sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    *_, last = (line for line in result.stdout.splitlines() if line.startswith("LOADED"))
    return set(last.split()) & LIBRARIES


def test_a_drop_in_user_pays_for_torch_and_nothing_heavier() -> None:
    assert loaded("import context_agg") == set()
    assert loaded("import context_agg; context_agg.ops.CONV_OPS['manual']") == {"torch"}
    assert loaded("import context_agg; assert 'ops' in dir(context_agg)") == set()
    assert loaded("from context_agg import ContextModule, DilatedConv2d") == {"torch"}
    assert loaded("import context_agg.ops") == {"torch"}


MODEL = str(ROOT / "models" / "basic_mnist")
REPORT = {"matplotlib", "tensorboard", "hydra"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "arguments", "needed"),
    [
        ("__main__", [], set()),
        ("__main__", ["train"], set()),
        ("predict", [MODEL, str(ROOT / "docs" / "figures" / "scene.png")], {"torch", "hydra"}),
        ("export", [MODEL, "OUT"], {"torch", "hydra"}),
        ("report", ["FOLDER"], REPORT),
        ("exercise", ["--help"], {"hydra"}),
        ("exercise", ["FOLDER/mine.py"], {"hydra"}),
        ("report", ["--help"], {"hydra"}),
        ("predict", ["--help"], {"hydra"}),
        ("predict", [MODEL], {"hydra"}),
        ("export", [MODEL], {"hydra"}),
        ("tune", ["--help"], {"hydra"}),
        ("tune", ["FOLDER"], {"hydra"}),
        ("evaluate", ["FOLDER"], {"hydra", "torch"}),
        ("check", ["--help"], {"hydra"}),
        ("check", ["opp=1"], {"hydra"}),
        ("evaluate", ["--help"], {"hydra"}),
        ("data.__main__", ["--help"], {"hydra"}),
        ("data.__main__", [], {"hydra"}),
        ("train", ["--help"], {"hydra"}),
        ("train", ["optimizer.lrr=1"], {"hydra"}),
        ("train", ["+trainer.fast_dev_run=true"], {"hydra"}),
        ("train", ["~optimizer"], {"hydra"}),
        ("train", ["model=larg"], {"hydra"}),
        ("train", ["--epochs=3"], {"hydra"}),
        ("train", ["basic"], {"hydra"}),
        ("train", ["optimizer.lr=-1"], {"hydra", "torch"}),
        ("check", ["backprop=brokn"], {"hydra", "torch"}),
    ],
)
def test_a_command_imports_nothing_that_it_does_not_need(
    command: str, arguments: list[str], needed: set[str], tmp_path: Path
) -> None:
    named = [line.replace("OUT", str(tmp_path / "out")) for line in arguments]
    named = [line.replace("FOLDER", str(tmp_path)) for line in named]
    code = f"import runpy; runpy.run_module('context_agg.{command}', run_name='__main__')"
    assert loaded(code, *named) == needed
