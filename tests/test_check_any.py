"""`python -m context_agg.check op=... inputs=...`: any function of tensors."""

import json
import sys
from pathlib import Path

import pytest

from tests.command import call

OWN = """
import torch

class Halved(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x @ weight

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        return g @ weight.T, x.T @ g / len(x)

def right(x, weight):
    return x @ weight

def near(x, weight):
    return right(x, weight) + 1e-4 * right(x, weight).detach()

def inputs():
    torch.manual_seed(0)
    return torch.randn(8, 3), torch.randn(3, 2)

def raises():
    raise RuntimeError("no data here")

def integers():
    return torch.arange(3), torch.arange(3)

number = 3
"""


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_function.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    sys.modules.pop("own_function", None)


def run(op: str, *arguments: str, inputs: str = "inputs") -> int | str | None:
    return call("check", f"op=own_function:{op}", f"inputs=own_function:{inputs}", *arguments)


@pytest.mark.parametrize("beside", [[], ["reference=own_function:right"]])
def test_the_exit_code_is_0_only_if_all_is_right(
    beside: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("right", *beside) == 0
    assert "right is right" in capsys.readouterr().out
    for halved in ("Halved", "Halved.apply"):
        assert run(halved, *beside) == 1
        out = capsys.readouterr().out
        assert "grad_weight is 8 times too small: a mean over the batch where a sum is right" in out
        assert out.endswith("Halved is WRONG: grad_weight\n")


def test_json_is_all_that_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("Halved", "format=json") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["right"] is False
    assert report["diagnoses"][0].startswith("grad_weight is 8 times too small")
    by_name = {tensor["name"]: tensor for tensor in report["tensors"]}
    assert by_name["grad_x"]["exact"] is True
    assert by_name["grad_weight"]["alignment"]["norm_ratio"] == pytest.approx(1 / 8)


def test_tolerances_and_second_derivatives_are_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("near") == 1
    assert run("near", "tolerance=0.001") == 0
    capsys.readouterr()
    assert run("right", "second_order=true") == 0
    assert "second derivative by weight" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inputs=own_function:inputs"], "needs op=package.module:function"),
        (["op=own_function:right", "format=json"], "format=json has no effect without inputs="),
        (["tolerance=0.1"], "tolerance=0.1 has no effect without inputs="),
        (["op=own_function:nix", "inputs=own_function:inputs"], "no attribute 'nix'"),
        (["op=nix:nix", "inputs=own_function:inputs"], "op=nix:nix: No module named"),
        (["op=own_function:right", "inputs=own_function:number"], "is no function"),
        (["op=own_function:right", "inputs=own_function:raises"], "raised RuntimeError"),
        (["op=own_function:right", "inputs=own_function:integers"], "no floating-point tensor"),
        (["tolerance=-1"], "tolerance=-1 must be a number above 0"),
        (["format=yaml"], "format=yaml must be text or json"),
    ],
)
def test_a_mistake_is_answered_with_one_message(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = call("check", *arguments)
    captured = capsys.readouterr()
    assert code not in (0, None)
    assert message in f"{code} {captured.err}"
    assert captured.out == ""


def test_a_module_that_leaves_is_not_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "leaves.py").write_text("import sys\ndef op(x): return x\nsys.exit(0)\n")
    assert call("check", "op=leaves:op", "inputs=own_function:inputs") not in (0, None)
    (tmp_path / "leaves.py").write_text("import sys\ndef inputs(): sys.exit(0)\n")
    sys.modules.pop("leaves", None)
    assert call("check", "op=own_function:right", "inputs=leaves:inputs") not in (0, None)
    capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["op=own_function:nothing", "inputs=own_function:inputs"], "has no attribute 'nothing'"),
        (["op=own_function:right", "inputs=own_function:raises"], "raised RuntimeError('no data"),
        (["inputs=own_function:inputs"], "needs op=package.module:function"),
        (["op=own_function:right"], "without inputs= it must be a function"),
        (
            ["op=own_function:right", "inputs=own_function:inputs", "backprop=auto"],
            "backprop=auto has no effect beside op=own_function:right",
        ),
    ],
)
def test_a_mistake_is_its_message_and_nothing_more(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the lines that Hydra puts around it."""
    message = call("check", *arguments)
    assert says in str(message)
    assert str(message).count("\n") == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
