"""A run, from the configuration to its directory, on tiny data."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch.testing import assert_close

from context_agg.cli.compose import compose_config
from context_agg.cli.errors import UserError
from context_agg.runs.build import build_trainer
from context_agg.train import train
from tests.tiny_run import TINY, run, scalars, weights

EVERY_EPOCH = {"train/loss", "train/accuracy", "val/loss", "val/accuracy"}


def test_a_run_directory_holds_what_is_promised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = run(tmp_path)
    files = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert {"checkpoints/best.ckpt", "checkpoints/last.ckpt", "metrics.json"} <= files
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "metrics.json").read_text()) == scores
    assert set(scores) == {
        "test/loss",
        "test/accuracy",
        "final/accuracy",
        "epochs",
        "seconds",
        "train/images_per_second",
    }
    assert scores["epochs"] == 2
    curves = scalars(tmp_path)
    assert {
        tag: len(values) for tag, values in curves.items() if tag in EVERY_EPOCH
    } == dict.fromkeys(EVERY_EPOCH, 2)
    assert curves["val/accuracy"][-1] == pytest.approx(scores["final/accuracy"])
    assert curves["test/accuracy"] == [pytest.approx(scores["test/accuracy"])]
    assert curves["test/loss"] == [pytest.approx(scores["test/loss"])]
    printed = capsys.readouterr().out
    for part in ("receptive field 67x67", "backprop   manual", "1,257 images", "cpu", "epoch 2/2"):
        assert part in printed
    assert f"{scores['test/accuracy']:.4f}" in printed.splitlines()[-2]


def test_the_test_result_is_that_of_the_best_checkpoint(tmp_path: Path) -> None:
    """Recomputed by hand, from the file."""
    from context_agg.data.digits import load_digits
    from context_agg.networks.context_net import ContextNet

    scores = run(tmp_path, "trainer.max_epochs=3")
    data = load_digits(batch_size=8, shift=1, held_out="validation", seed=0)
    net = ContextNet(2, (1, 1, 2, 4, 8, 16, 1), (1,) * 7, **data.spec.shapes)
    state = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    net.load_state_dict({key.removeprefix("network."): value for key, value in state.items()})
    images, target = data.test.images[:16].float() / 255, data.test.target[:16]
    logits = net(images)
    assert scores["test/loss"] == pytest.approx(
        torch.nn.functional.cross_entropy(logits, target).item(), rel=1e-5
    )
    assert scores["test/accuracy"] == pytest.approx(
        (logits.argmax(1) == target).float().mean().item()
    )


def test_auto_equals_manual_and_broken_differs_over_50_steps_in_float64(tmp_path: Path) -> None:
    double = (
        "trainer.precision=64-true",
        "trainer.max_epochs=5",
        "model.init=kaiming",
        "model.channels=4",
        "optimizer.lr=0.005",
        "data.shift=0",
    )
    ends, losses = {}, {}
    for backprop in ("auto", "manual", "manual_taps", "broken"):
        run(tmp_path / backprop, f"backprop={backprop}", *double)
        ends[backprop] = weights(tmp_path / backprop)
        losses[backprop] = torch.tensor(scalars(tmp_path / backprop)["train/loss"])
    for backprop in ("manual", "manual_taps"):
        for name, weight in ends["auto"].items():
            assert weight.dtype == torch.float64
            assert_close(ends[backprop][name], weight, rtol=1e-9, atol=1e-9)
    differences = [
        (ends["broken"][name] - weight).abs().max().item()
        for name, weight in ends["auto"].items()
        if name.endswith("weight")
    ]
    assert max(differences) > 1e-2
    assert losses["auto"][-1] < 0.9 * losses["auto"][0]  # it has learnt something
    assert not torch.allclose(losses["broken"], losses["auto"], rtol=1e-2)


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tmp_path: Path) -> None:
    one, same, other = (
        (run(tmp_path / name, f"seed={seed}"), weights(tmp_path / name))[1]
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("model", ["linear", "plain"])
def test_baselines_run_too(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = [override for override in TINY if not override.startswith("model.")]
    cfg = compose_config(f"model={model}", *overrides, "trainer.max_epochs=1")
    assert 0 <= train(cfg, tmp_path)["test/accuracy"] <= 1
    assert ("(no dilated convolution)" in capsys.readouterr().out) == (model == "linear")


def test_held_out_test_watches_the_test_images(tmp_path: Path) -> None:
    run(tmp_path, "data.held_out=test", "trainer.max_epochs=1")
    curves = scalars(tmp_path)
    assert curves["val/accuracy"] == pytest.approx(curves["test/accuracy"])


@pytest.mark.slow
def test_a_compiled_network_trains_to_the_same_and_its_checkpoint_fits_the_plain_one(
    tmp_path: Path,
) -> None:
    for name, flag in (("eager", "false"), ("compiled", "true")):
        run(tmp_path / name, f"compile={flag}", "trainer.precision=64-true")
    eager, compiled = weights(tmp_path / "eager"), weights(tmp_path / "compiled")
    assert eager.keys() == compiled.keys()
    for name, weight in eager.items():
        assert_close(compiled[name], weight, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("cuda", "device"), [(True, "cuda"), (False, "cpu")])
def test_auto_is_cuda_where_there_is_one_else_the_cpu(
    cuda: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    chosen: list[str] = []

    class Trainer(L.Trainer):
        def __init__(self, accelerator: str, **options: object) -> None:
            chosen.append(accelerator)
            super().__init__(accelerator="cpu", logger=False)

    monkeypatch.setattr(L, "Trainer", Trainer)
    build_trainer(compose_config())
    build_trainer(compose_config("trainer.accelerator=cpu"))
    assert chosen == [device, "cpu"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_training_on_cuda_agrees_with_the_cpu(tmp_path: Path) -> None:
    double = ("trainer.precision=64-true",)
    run(tmp_path / "cpu", *double)
    run(tmp_path / "cuda", *double, "trainer.accelerator=cuda")
    on_cpu, on_cuda = weights(tmp_path / "cpu"), weights(tmp_path / "cuda")
    for name, weight in on_cpu.items():
        assert_close(on_cuda[name].cpu(), weight, rtol=1e-7, atol=1e-7)


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "context_agg.train", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_run_that_diverges_is_an_error_and_no_result(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"step \d: the loss is (nan|inf), first in .*smaller optimizer\.lr"
    ):
        run(tmp_path, "optimizer=sgd", "optimizer.lr=1e30", "trainer.max_epochs=2")
    assert not (tmp_path / "metrics.json").exists()


def test_the_command_trains_where_it_is_called(tmp_path: Path) -> None:
    result = command(*TINY, "trainer.max_epochs=1", "backprop=broken", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    # no bar without a terminal, no warning, no tip; only what the first run compiles
    assert re.fullmatch(r"(compiled .*\n)?", result.stderr)
    (run_dir,) = (tmp_path / "outputs" / "single").iterdir()
    assert not set("=, ") & set(run_dir.name)
    assert (run_dir / ".hydra" / "config.yaml").is_file()
    assert (run_dir / "metrics.json").is_file()
    assert "backprop   broken" in result.stdout
    assert str(run_dir.name) in result.stdout.splitlines()[-1]


def test_help_names_groups_choices_and_keys(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from context_agg import train as module

    monkeypatch.setattr(sys, "argv", ["train", "--help"])
    main: Any = module.main
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    models = "model: basic, dilation10, dilation7, front_end, large"
    for part in (models, "backprop=manual", "Examples"):
        assert part in text
