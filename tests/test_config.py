"""Every file of conf/ composes, builds and works with the others."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from context_agg.cli.compose import CONF, compose_config
from context_agg.networks.context import ContextModule, receptive_field
from context_agg.networks.context_net import ContextNet
from context_agg.networks.heads import LinearNet
from context_agg.runs.build import build
from context_agg.train import train
from tests.fake_mnist import write_mnist
from tests.fake_pairs import write_camvid, write_cityscapes, write_folder, write_voc2012

MODELS, DATA, OPTIMIZERS, TRAINERS, EXPERIMENTS, CALLBACKS = (
    sorted(file.stem for file in (CONF / group).glob("*.yaml"))
    for group in ("model", "data", "optimizer", "trainer", "experiment", "callbacks")
)
STREETS: dict[str, Any] = {
    "camvid": (write_camvid, 11),
    "cityscapes": (write_cityscapes, 19),
    "voc2012": (write_voc2012, 21),
}
IMAGE = {"in_channels": 1, "image_size": (28, 28), "num_classes": 10, "dense": False}


def network(*overrides: str, **image: Any) -> Any:
    return instantiate(compose_config(*overrides).model, **{**IMAGE, **image})


@pytest.mark.parametrize("model", MODELS)
def test_every_model_builds_and_classifies(model: str) -> None:
    if model == "front_end":
        net = network("model=front_end", "front_end=small", dense=True)
        assert net(torch.rand(2, 1, 28, 28)).shape == (2, 10, 28, 28)
    else:
        assert network(f"model={model}")(torch.rand(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("model", MODELS)
def test_all_that_a_model_computes_with_is_saved(model: str) -> None:
    """A trained network is built without memory, and then filled with what was saved."""
    front_end = {"front_end=vgg16"} if model in ("front_end", "basic") else set()
    image = {"dense": True, "in_channels": 3} if front_end else {}
    channels = {"model.channels=null"} if model == "basic" else set()
    with torch.device("meta"):
        net = network(f"model={model}", *front_end, *channels, **image)
    saved = net.state_dict()
    assert {name for name, _ in [*net.named_parameters(), *net.named_buffers()]} == saved.keys()


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_data_set_and_optimizer_builds(data: str, optimizer: str, tmp_path: Path) -> None:
    overrides = [f"data={data}", f"optimizer={optimizer}"]
    if data == "digit_scenes":
        overrides += ["data.train_scenes=2", "data.validation_scenes=1", "data.test_scenes=1"]
    elif data in STREETS:
        write, classes = STREETS[data]
        write(tmp_path)
        overrides.append(f"data.root={tmp_path}")
    elif data == "folder":
        write_folder(tmp_path, 10)
        overrides += [f"data.root={tmp_path}", "data.classes=[a,b,c]", "data.ignore=9"]
    elif data != "digits":
        write_mnist(tmp_path, {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}[data])
        overrides.append(f"data.root={tmp_path}")
    cfg = compose_config(*overrides)
    images, learner = build(cfg)
    shapes = images.spec.shapes
    if data == "digit_scenes":
        assert shapes == {**IMAGE, "image_size": (64, 64), "num_classes": 11, "dense": True}
    elif data == "folder" or data in STREETS:
        assert shapes["num_classes"] == (3 if data == "folder" else classes)
        assert (shapes["in_channels"], shapes["dense"]) == (3, True)
    else:
        assert shapes == IMAGE
    optimized = {id(p) for group in learner.optimizer.param_groups for p in group["params"]}
    assert optimized == {id(parameter) for parameter in learner.network.parameters()}


@pytest.mark.parametrize("trainer", TRAINERS)
def test_every_trainer_builds(trainer: str) -> None:
    built = instantiate(compose_config(f"trainer={trainer}").trainer, _convert_="all")
    assert isinstance(built, L.Trainer)


STAGES = {f"{name}_{stage}" for name in ("scenes", "camvid") for stage in ("context", "joint")}
"""They need an earlier run: see tests/runs/test_dense.py and test_camvid.py."""
FROZEN = {"front_end_maps"}  # callbacks that need a frozen front end: see test_camvid.py


@pytest.mark.parametrize(
    "name",
    [
        *sorted(set(EXPERIMENTS) - STAGES),
        *(f"callbacks={name}" for name in sorted(set(CALLBACKS) - FROZEN)),
    ],
)
def test_every_experiment_and_set_of_callbacks_takes_a_step(name: str, tmp_path: Path) -> None:
    """Each run is also tested and leaves its files; the callbacks run on the digits."""
    write_mnist(tmp_path, "MNIST")
    write_camvid(tmp_path)
    overrides = [name] if "=" in name else [f"experiment={name}", f"data.root={tmp_path}"]
    if name.startswith("scenes"):
        overrides += [f"data.{part}_scenes=16" for part in ("train", "validation", "test")]
    scores = train(compose_config(*overrides, "debug=step"), tmp_path / "run")
    assert scores["epochs"] == 1
    assert (tmp_path / "run" / "metrics.json").is_file()


@pytest.mark.parametrize(
    ("model", "dilations", "weights"),
    [
        ("basic", [1, 1, 2, 4, 8, 16, 1], 64),
        ("plain", [1, 1, 1, 1, 1, 1, 1], 64),
        ("dilation7", [1, 1, 2, 4, 8, 1], 55),
        ("dilation10", [1, 1, 2, 4, 8, 16, 32, 64, 1], 82),
        ("large", [1, 1, 2, 4, 8, 16, 1], 15422),
    ],
)
def test_models_are_those_of_the_paper(model: str, dilations: list[int], weights: int) -> None:
    context = network(f"model={model}", "backprop=auto").context
    assert isinstance(context, ContextModule)
    assert [conv.dilation[0] for conv in context.convolutions[:-1]] == dilations
    count = sum(conv.weight.numel() for conv in context.convolutions)
    assert count == weights * context.channels**2  # in units of C^2, as in Table 1 of the paper
    assert context.receptive_field == receptive_field(dilations)


@pytest.mark.parametrize("backprop", ["auto", "manual", "manual_taps", "broken"])
def test_backprop_reaches_every_convolution(backprop: str) -> None:
    net = network(f"backprop={backprop}")
    assert net.front_end.backprop == backprop
    assert {conv.backprop for conv in net.context.convolutions} == {backprop}


def test_defaults_are_those_of_the_contract() -> None:
    cfg = compose_config()
    assert (cfg.seed, cfg.backprop, cfg.compile) == (0, "manual", False)
    assert (cfg.model.channels, cfg.model.init, cfg.model.padding) == (16, "identity", "same")
    assert (cfg.optimizer.lr, cfg.data.held_out) == (1e-3, "validation")
    assert compose_config("model=large").model.channels == 2
    assert cfg.trainer.max_epochs * 1257 <= 40_000


def test_only_root_scalars_are_interpolated() -> None:
    """Any part of a configuration can then be composed and read by itself."""
    cfg = compose_config()
    roots = {name for name, value in cfg.items() if not isinstance(value, DictConfig)}
    whole: Any = OmegaConf.to_container(cfg)
    for group in ("model", "data", "optimizer", "trainer"):
        for value in whole[group].values():
            if isinstance(value, str) and value.startswith("${"):
                known = value.startswith(("${oc.env:", "${oc.select:front_end,"))
                assert known or value.strip("${}") in roots


# networks


def test_the_stem_is_absent_where_the_image_has_c_channels() -> None:
    assert isinstance(network("model.channels=3", in_channels=3).front_end, torch.nn.Identity)
    assert network("model.channels=4", in_channels=3).front_end.out_channels == 4


def test_hidden_layers_of_the_head() -> None:
    net = network("model.hidden=[20,30]", "model.channels=2")
    sizes = [m.out_features for m in net.head if isinstance(m, torch.nn.Linear)]
    assert sizes == [20, 30, 10]
    assert net(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_valid_padding_shrinks_what_the_head_sees() -> None:
    net = network("model.padding=valid", "model.channels=2", image_size=(70, 68))
    assert net(torch.rand(1, 1, 70, 68)).shape == (1, 10)
    assert net.head[1].in_features == 2 * 4 * 2


def test_dense_data_get_a_class_for_every_pixel() -> None:
    net = network("model.channels=4", dense=True, in_channels=3, num_classes=5)
    assert net(torch.rand(2, 3, 9, 7)).shape == (2, 5, 9, 7)


@pytest.mark.parametrize(
    ("build_it", "message"),
    [
        (lambda: LinearNet(**{**IMAGE, "dense": True}), "classifies whole images"),
        (lambda: LinearNet(**IMAGE, hidden=[0]), r"hidden=\[0\] must"),
        (
            lambda: ContextNet(2, [1], [1], **{**IMAGE, "dense": True}, hidden=[3]),
            r"hidden=\[3\]: the head for dense data",
        ),
        (lambda: ContextNet(2, [1, 16], [1, 1], **IMAGE, padding="valid"), "28x28.*at least 35x35"),
    ],
)
def test_a_network_that_cannot_be_is_refused(build_it: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_it()
