"""The command `python -m context_agg.check`."""

import sys
from pathlib import Path

import pytest

from context_agg.check import check, main, user_op
from context_agg.cli.compose import compose_config
from context_agg.cli.errors import UserError
from context_agg.ops import CONV_OPS
from context_agg.ops.mistakes import MISTAKES
from context_agg.runs.catch import CHECKS, catch_rows, overfit_steps
from tests.command import call
from tests.operands import CORRECT

SMALL = ("model.channels=2", "model.init=normal", "images=4")


def run(*arguments: str) -> int | str | None:
    """The command with a small model; what it exits with."""
    return call("check", *SMALL, *arguments)


@pytest.mark.parametrize("rule", [*CORRECT, *MISTAKES])
def test_the_exit_code_is_0_only_for_a_right_rule(
    rule: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(f"backprop={rule}") == (0 if rule in CORRECT else 1)
    out = capsys.readouterr().out
    assert f"{rule} is {'right' if rule in CORRECT else 'WRONG: '}" in out
    assert list(tmp_path.iterdir()) == []  # nothing is written


def test_every_tensor_of_every_layer_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert not check(compose_config(*SMALL, "backprop=broken", command="check"))
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    for layer in ("front_end", *(f"context.layers.{i}" for i in range(8))):
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

class DilationUpTo2(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, dilation):
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        return right(x, weight, bias, dilation)

    @staticmethod
    def backward(ctx, grad):
        return gradients(ctx, grad, min(ctx.dilation, 2), ctx.dilation)

def gradients(ctx, grad, of_x, of_weight):  # with these dilations
    x, weight = ctx.saved_tensors
    for_x, for_weight = (
        dict(padding=d * (weight.shape[-1] // 2), dilation=d) for d in (of_x, of_weight)
    )
    grad_x = torch.nn.grad.conv2d_input(x.shape, weight, grad, **for_x)
    grad_weight = torch.nn.grad.conv2d_weight(x, weight.shape, grad, **for_weight)
    return grad_x, grad_weight, grad.sum((0, 2, 3)), None

def up_to_2(x, weight, bias, dilation, relu=False):
    y = DilationUpTo2.apply(x, weight, bias, dilation)
    return y.relu() if relu else y

def right(x, weight, bias, dilation, relu=False):
    y = F.conv2d(x, weight, bias, padding=dilation * (weight.shape[-1] // 2), dilation=dilation)
    return y.relu() if relu else y

def detached(x, weight, bias, dilation, relu=False):
    return right(x.detach(), weight, bias, dilation, relu)

def smaller(x, weight, bias, dilation, relu=False):
    return right(x, weight, bias, dilation, relu)[..., 1:]

def raises(x, weight, bias, dilation, relu=False):
    raise RuntimeError("not today")

def rough(x, weight, bias, dilation, relu=False):
    y = right(x, weight, bias, dilation, relu)
    return y + x.mean() if x.dtype == torch.float32 else y

def no_relu(x, weight, bias, dilation, relu=False):
    return right(x, weight, bias, dilation, relu and dilation == 1)

class LastDilation(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, dilation):
        LastDilation.dilation = dilation  # which the next layer overwrites
        ctx.save_for_backward(x, weight)
        return right(x, weight, bias, dilation)

    @staticmethod
    def backward(ctx, grad):
        return gradients(ctx, grad, LastDilation.dilation, LastDilation.dilation)

def last_dilation(x, weight, bias, dilation, relu=False):
    y = LastDilation.apply(x, weight, bias, dilation)
    return y.relu() if relu else y

def raises_in_a_network(x, weight, bias, dilation, relu=False):
    if x.grad_fn is not None and weight.shape[-1] == 1:
        raise RuntimeError("no leaf")
    return right(x, weight, bias, dilation, relu)

def other(x, weight):
    return x

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
        ("smaller", 1, "raised RuntimeError('Mismatch in shape"),
        ("rough", 1, "WRONG: y in float32 at dilation 1"),
        ("no_relu", 1, "WRONG: y at dilation 2"),
        ("raises", 1, "raised RuntimeError('not today') in "),
        ("last_dilation", 1, "WRONG: gradients in training at front_end.weight, front_end.bias, "),
        ("raises_in_a_network", 1, "WRONG: error at the whole network"),
    ],
)
def test_an_operator_of_ones_own(
    name: str,
    expected: int,
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = dict(CONV_OPS)
    assert run(f"op=own_operator:{name}") == expected
    assert says in capsys.readouterr().out
    assert before == CONV_OPS


@pytest.mark.usefixtures("_own")
def test_identity_initialisation_hides_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A grad_x that is wrong in off-centre taps for dilations of 4 and more; default model."""
    assert not check(compose_config("op=own_operator:up_to_2", "images=4", command="check"))
    out = capsys.readouterr().out
    assert "WRONG: grad_x at dilation 4, dilation 8, dilation 16" in out
    assert "gradcheck, dilation 2 on 7x7: passed" in out


@pytest.mark.parametrize("frozen", ["[front_end]", "[context]", "[front_end,context]"])
def test_frozen_parts_are_checked_too(frozen: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(compose_config(*SMALL, f"frozen={frozen}", command="check"))
    assert "context.layers.5        16  grad_weight  yes" in capsys.readouterr().out


def test_a_refused_check_leaves_the_folder_as_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.log").write_text("of the user")
    monkeypatch.setattr(sys, "argv", ["check", "model=linear"])
    with pytest.raises(SystemExit, match="no dilated convolution"):
        main()
    assert (tmp_path / "train.log").read_text() == "of the user"


@pytest.mark.usefixtures("_own")
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("own_operator:nix", "no attribute 'nix'"),
        ("no_such_module:op", "No module named"),
        ("own_operator", "write package.module:function"),
        ("own_operator:number", "is no function; write package.module:function"),
        ("own_operator:other", "too many positional arguments"),
        ("own_broken", "write package.module:function"),
    ],
)
def test_an_operator_that_is_not_there(path: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        user_op(path)


def test_a_model_without_convolutions_is_refused() -> None:
    with pytest.raises(UserError, match="no dilated convolution to check"):
        check(compose_config("model=linear", command="check"))


def test_several_checks_at_once_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "one rule at a time" in str(run("experiment=digits/backprop"))
    assert list(tmp_path.iterdir()) == []
    assert "one rule at a time" in str(call("check", "-m", *SMALL, "backprop=auto,manual"))
    assert "did you mean 'op'" in str(run("opp=a:b"))


@pytest.mark.slow
def test_the_catch_table_cheaply(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the gradcheck and cosine cells; for the training cells, made-up numbers of each kind."""
    accuracies = {
        "auto": (0.8, 0.9, 0.85),
        "broken": (0.7, 0.79, 0.6),  # all seeds are below
        "unrotated": (0.7, 0.81, 0.6),  # one seed is not
    }
    monkeypatch.setattr(
        "context_agg.runs.catch.overfit_steps",
        lambda cfg: None if cfg.backprop == "draft" else 20,
    )
    monkeypatch.setattr(
        "context_agg.runs.catch.accuracy_after_one_epoch",
        lambda cfg: accuracies.get(cfg.backprop, accuracies["auto"])[cfg.seed],
    )
    rows = list(catch_rows(compose_config("model.channels=4", "images=8", command="check")))
    caught = {
        row["rule"].strip("`"): [row[check].startswith("**") for check in CHECKS] for row in rows
    }
    assert caught == {
        "auto": [False] * 6,
        "manual": [False] * 6,
        "manual_torch": [False] * 6,
        "manual_taps": [False] * 6,
        # gradcheck at dilation 1, at 2, cosine with identity, with normal, overfit, accuracy
        "broken": [False, True, True, True, False, True],
        "undilated_grad_x": [False, True, False, True, False, False],
        "undilated_grad_weight": [False, True, True, True, False, False],
        "unrotated": [True, True, False, True, False, False],
        "no_bias_grad": [True, True, True, True, False, False],
        "draft": [True, True, True, True, True, False],
        "feedback_alignment": [True, True, True, True, False, False],
        "sign_symmetric": [True, True, False, True, False, False],
    }
    (draft,) = (row for row in rows if row["rule"] == "`draft`")
    assert draft[CHECKS[4]] == "**stuck**"


def test_overfitting_tells_too_few_steps_from_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = compose_config("model.channels=2", "optimizer.lr=1e-9", command="check")
    monkeypatch.setattr("context_agg.runs.catch.OVERFIT_STEPS", 2)
    assert overfit_steps(cfg) is None

    def fails(*arguments: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setitem(CONV_OPS, "manual", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        overfit_steps(cfg)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["images=0"], "images=0 must be"),
        (["optimizer.lr=-1"], "optimizer.lr=-1 must be"),
        (["op=3"], "op=3 must be"),
    ],
)
def test_the_table_is_refused_before_it_begins(
    arguments: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = run("backprop=all", *arguments)
    captured = capsys.readouterr()
    assert code not in (0, None)
    assert says in f"{code} {captured.err}"
    assert captured.out == ""


def test_the_table_needs_initialisations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["check", "backprop=all", "model=post"])
    with pytest.raises(SystemExit, match="use model=basic"):
        main()


@pytest.mark.slow
def test_the_catch_table_trains() -> None:
    rows = catch_rows(
        compose_config("model.channels=2", "trainer.limit_train_batches=4", command="check")
    )
    first = next(rows)
    assert first[CHECKS[4]].endswith(" steps")
    assert 0 < float(first[CHECKS[5]]) < 1
