"""python -m context_agg.check."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from context_agg.analysis.catch import CHECKS, catch_rows
from context_agg.check import check, main, user_op
from context_agg.errors import UserError
from context_agg.ops import CONV_OPS
from context_agg.ops.mistakes import MISTAKES
from tests.config import compose_check
from tests.operands import CORRECT

SMALL = ("model.channels=2", "model.init=normal", "images=4")


@pytest.fixture(autouse=True)
def _operators_stay() -> Iterator[None]:
    """Whatever a test adds to CONV_OPS goes again."""
    before = dict(CONV_OPS)
    yield
    CONV_OPS.clear()
    CONV_OPS.update(before)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    """The command in this process; what it exits with."""
    monkeypatch.setattr(sys, "argv", ["check", *SMALL, *arguments])
    try:
        main()
    except SystemExit as exit_:
        return exit_.code
    return 0


@pytest.mark.parametrize("rule", [*CORRECT, *MISTAKES])
def test_the_exit_code_is_0_only_for_a_right_rule(
    rule: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, f"backprop={rule}") == (0 if rule in CORRECT else 1)
    out = capsys.readouterr().out
    assert f"{rule} is {'right' if rule in CORRECT else 'WRONG: '}" in out
    assert list(tmp_path.iterdir()) == []  # nothing is written


def test_every_tensor_of_every_layer_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert not check(compose_check(*SMALL, "backprop=broken"))
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    for layer in ("stem", *(f"context.layers.{i}" for i in range(8))):
        tensors = [line[2] for line in lines if line[:1] == [layer]]
        assert tensors == ["y", "grad_x", "grad_weight", "grad_bias"]
    exact = {(line[0], line[2]): line[3] for line in lines if len(line) > 8}
    assert exact["context.layers.2", "grad_weight"] == "NO"  # dilation 2
    assert exact["context.layers.1", "grad_weight"] == "yes"  # dilation 1
    assert "gradcheck, dilation 1 on 7x7: passed" in out
    assert "gradcheck, dilation 2 on 7x7: grad_x, grad_weight" in out


OWN = """
import torch
import torch.nn.functional as F

def right(x, weight, bias, dilation, relu=False):
    y = F.conv2d(x, weight, bias, padding=dilation * (weight.shape[-1] // 2), dilation=dilation)
    return y.relu() if relu else y

def detached(x, weight, bias, dilation, relu=False):
    return right(x.detach(), weight, bias, dilation, relu)

def smaller(x, weight, bias, dilation, relu=False):
    return right(x, weight, bias, dilation, relu)[..., 1:]

def raises(x, weight, bias, dilation, relu=False):
    raise RuntimeError("not today")

number = 3
"""


@pytest.fixture
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_operator.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("own_operator", None)


@pytest.mark.usefixtures("_own")
@pytest.mark.parametrize(
    ("name", "expected", "says"),
    [
        ("right", 0, "own_operator:right is right"),
        ("detached", 1, "WRONG: grad_x at dilation 1"),
        ("raises", 1, "raised RuntimeError('not today')"),
    ],
)
def test_an_operator_of_ones_own(
    name: str,
    expected: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, f"op=own_operator:{name}") == expected
    assert says in capsys.readouterr().out


@pytest.mark.usefixtures("_own")
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("own_operator:nix", "no attribute 'nix'"),
        ("no_such_module:op", "No module named"),
        ("own_operator", "write package.module:function"),
        ("own_operator:number", "is not a function"),
    ],
)
def test_an_operator_that_is_not_there(path: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        user_op(path)


def test_a_model_without_convolutions_is_refused() -> None:
    with pytest.raises(UserError, match="no dilated convolution to check"):
        check(compose_check("model=linear"))


def test_several_checks_at_once_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "one check at a time" in str(run(monkeypatch, "-m", "backprop=auto,manual"))
    assert "did you mean 'op'" in str(run(monkeypatch, "opp=a:b"))


def test_the_catch_table_cheaply(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cells by gradcheck and by cosine; the trainings are replaced by constants."""
    monkeypatch.setattr("context_agg.analysis.catch.overfit_steps", lambda cfg: 20)
    monkeypatch.setattr("context_agg.analysis.catch.accuracy_after_one_epoch", lambda cfg: 0.9)
    torch.manual_seed(0)
    rows = list(catch_rows(compose_check("model.channels=4", "images=8")))
    caught = {
        row["rule"].strip("`"): [row[check].startswith("**") for check in CHECKS] for row in rows
    }
    assert caught == {
        "auto": [False] * 6,
        "manual": [False] * 6,
        "manual_taps": [False] * 6,
        # gradcheck at dilation 1, at 2, cosine with identity, with normal initialisation
        "broken": [False, True, True, True, False, False],
        "undilated_grad_x": [False, True, False, True, False, False],
        "undilated_grad_weight": [False, True, True, True, False, False],
        "unrotated": [True, True, False, True, False, False],
        "no_bias_grad": [True, True, True, True, False, False],
        "draft": [True, True, True, True, False, False],
    }


@pytest.mark.slow
def test_the_catch_table_trains() -> None:
    rows = catch_rows(compose_check("model.channels=2", "trainer.limit_train_batches=4"))
    first = next(rows)
    assert first[CHECKS[4]].endswith(" steps")
    assert 0 < float(first[CHECKS[5]]) < 1
