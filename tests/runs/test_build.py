"""What is built from a configuration."""

from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from hydra.errors import InstantiationException

from context_agg.cli.compose import compose_config
from context_agg.data.spec import DataSpec
from context_agg.runs import memory
from context_agg.runs.build import build, build_trainer, check_network, check_parts
from context_agg.runs.demands import check_output
from context_agg.runs.summary import describe_start
from context_agg.train import train
from tests.own_parts import LooksAtNumbers


def test_frozen_parts_keep_their_initial_weights(tmp_path: Path) -> None:
    cfg = compose_config("debug=step", "model.channels=2", "frozen=[context]")
    before = build(cfg)[1].network.state_dict()
    torch.manual_seed(0)
    train(cfg, tmp_path)
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    for name, start in before.items():
        if name.startswith("context."):
            assert torch.equal(start, saved[f"network.{name}"])  # same for every seed


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "draft_adam", "caffe_sgd"])
@pytest.mark.parametrize("model", ["basic", "large", "post", "lecture", "linear"])
def test_the_memory_that_training_needs_is_known_before(
    model: str, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, gradients and averages are counted as they are after a step; one byte less fails."""
    cfg = compose_config(f"model={model}", f"optimizer={optimizer}")
    data, learner = build(cfg)
    images, target = data.train.batch(slice(2))
    learner.loss(learner.network(images), target).backward()
    learner.optimizer.step()
    weights = list(learner.network.parameters())
    taken = [*weights, *(weight.grad for weight in weights)]
    taken += [average for state in learner.optimizer.state.values() for average in state.values()]
    needed = sum(t.nbytes for t in taken if isinstance(t, torch.Tensor) and t.dim())
    monkeypatch.setattr(memory, "available", lambda device: needed)
    build(cfg)
    monkeypatch.setattr(memory, "available", lambda device: needed - 1)
    with pytest.raises(ValueError, match="this machine has"):
        build(cfg)


def test_frozen_parts_and_double_precision_count() -> None:
    def needs(*overrides: str) -> float:
        cfg = compose_config("model.channels=1000000", *overrides)
        with pytest.raises(ValueError, match="takes") as error:
            build(cfg)
        return float(str(error.value).split("takes ")[1].split(" GB")[0].replace(",", ""))

    assert needs("trainer.precision=64-true") == pytest.approx(2 * needs())
    assert needs("frozen=[context]") == pytest.approx(needs() / 4, rel=0.01)


@pytest.mark.parametrize("overrides", [[], ["optimizer=adam", "+optimizer.capturable=true"]])
def test_the_parent_of_a_sweep_puts_nothing_on_the_gpu_of_its_jobs(
    overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without CUDA raises where a tensor is made there; `capturable` is for CUDA only."""
    monkeypatch.setattr("context_agg.runs.build.accelerator", lambda cfg: "cuda")
    monkeypatch.setattr(memory, "available", lambda device: 10**9)
    monkeypatch.setattr(torch.cuda, "_lazy_init", Mock(side_effect=RuntimeError("uses CUDA")))
    check_parts([compose_config(*overrides)])


def test_options_of_an_optimizer_that_exclude_each_other_are_refused_before_a_sweep() -> None:
    wrong = ["optimizer=adam", "+optimizer.foreach=true", "+optimizer.fused=true"]
    with pytest.raises(InstantiationException, match="cannot be `True` together"):
        check_parts([compose_config(*wrong)])
    on_cpu = ["optimizer=adam", "+optimizer.capturable=true", "trainer.accelerator=cpu"]
    with pytest.raises(ValueError, match=r"optimizer: a step fails with .*capturable=True"):
        check_parts([compose_config(*on_cpu)])


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (1, 8, 9, 3), (1, 3, 9, 8), (3, 8, 9)])
def test_a_class_for_every_pixel_needs_a_number_for_every_pixel(shape: tuple[int, ...]) -> None:
    spec = DataSpec("scenes", 1, (8, 9), ("a", "b", "c"), dense=True)
    check_output(Mock(eval=lambda: lambda x: x.new_empty(1, 3, 8, 9)), spec)
    with pytest.raises(ValueError, match=r"\(1, 3, 8, 9\): a number for every pixel and each of"):
        check_output(Mock(eval=lambda: lambda x: x.new_empty(shape)), spec)


def test_a_network_that_needs_numbers_is_not_tried() -> None:
    spec = DataSpec("digits", 1, (8, 8), ("a", "b"))
    with torch.device("meta"):
        check_output(LooksAtNumbers(**spec.shapes), spec)


@pytest.mark.parametrize(
    ("membership", "files", "limit"),
    [
        ("0::/a/b\n", {"a/memory.max": "500\n", "a/b/memory.max": "max\n"}, 500),
        ("0::/a\n", {"memory.max": "300\n", "a/memory.max": "500\n"}, 300),
        ("4:memory:/a\n0::/\n", {"memory/a/memory.limit_in_bytes": "700\n"}, 700),
        ("0::/\n", {}, None),
    ],
)
def test_the_limit_of_a_control_group(
    membership: str, files: dict[str, str], limit: int | None, tmp_path: Path
) -> None:
    for name, text in {"proc/self/cgroup": membership}.items() | {
        (f"sys/fs/cgroup/{name}", text) for name, text in files.items()
    }:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert min(memory.limits(tmp_path), default=None) == limit


def test_looking_at_the_memory_changes_no_weight() -> None:
    """The network on the meta device draws no random numbers."""
    cfg = compose_config("model=large")
    spec = build(cfg)[0].spec
    before = torch.get_rng_state()
    check_network(cfg, spec)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("overrides", "note"),
    [
        (("model=dilation10",), "dilation 32, 64: off-centre taps see only padding in 28x28"),
        (("model=dilation10", "model.padding=once"), None),
        (("model=basic",), None),
        (("model=post", "model.dilations=[28]"), "dilation 28: off-centre"),
    ],
)
def test_a_dilation_beyond_the_images_is_noted(
    overrides: tuple[str, ...], note: str | None, tmp_path: Path
) -> None:
    cfg = compose_config(*overrides, "trainer.accelerator=cpu")
    data, learner = build(cfg)
    trainer = build_trainer(cfg, logger=False, callbacks=[])
    text = describe_start(cfg, "model", data, learner.network, trainer, tmp_path)
    assert note in text if note else "off-centre" not in text
