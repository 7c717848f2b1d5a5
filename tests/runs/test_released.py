"""The released networks, layer by layer against their published lists, and their conversion."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from context_agg import convert, predict
from context_agg.cli.compose import compose_config
from context_agg.data.pixels import network_input
from context_agg.networks.context import DilatedConv2d
from context_agg.networks.context_net import ContextNet
from context_agg.networks.front_ends import FrontEndNet
from context_agg.networks.tiles import largest_inputs
from context_agg.runs import classify, released
from context_agg.runs.build import build_network
from context_agg.runs.classify import MOST_MEMORY, TILE, label_pixels, memory_of
from context_agg.runs.load import load_network
from context_agg.runs.released import NETS, converted, settings
from context_agg.runs.start_from import start_from
from tests.caffe_file import caffemodel
from tests.joined_tiles import joined

# (name, kernel, maps, dilation) of each layer, as in the authors' files; "pool" halves the sides
FRONT_END: list[tuple[str, int, int, int]] = [
    ("conv1_1", 3, 64, 1),
    ("conv1_2", 3, 64, 1),
    ("pool1", 2, 64, 1),
    ("conv2_1", 3, 128, 1),
    ("conv2_2", 3, 128, 1),
    ("pool2", 2, 128, 1),
    ("conv3_1", 3, 256, 1),
    ("conv3_2", 3, 256, 1),
    ("conv3_3", 3, 256, 1),
    ("pool3", 2, 256, 1),
    ("conv4_1", 3, 512, 1),
    ("conv4_2", 3, 512, 1),
    ("conv4_3", 3, 512, 1),
    ("conv5_1", 3, 512, 2),
    ("conv5_2", 3, 512, 2),
    ("conv5_3", 3, 512, 2),
    ("fc6", 7, 4096, 4),
    ("fc7", 1, 4096, 1),
]
# sides of the maps behind each of these, for an input of 900 pixels
SIDES_900 = [898, 896, 448, 446, 444, 222, 220, 218, 216, 108, 106, 104, 102, 98, 94, 90, 66, 66]

# (name, kernel, maps, dilation, padding)
VOC: list[tuple[str, int, int, int, int]] = [
    ("ct_conv1_1", 3, 42, 1, 33),
    ("ct_conv1_2", 3, 42, 1, 0),
    ("ct_conv2_1", 3, 84, 2, 0),
    ("ct_conv3_1", 3, 168, 4, 0),
    ("ct_conv4_1", 3, 336, 8, 0),
    ("ct_conv5_1", 3, 672, 16, 0),
    ("ct_fc1", 3, 672, 1, 0),
    ("ct_final", 1, 21, 1, 0),
]
KITTI: list[tuple[str, int, int, int, int]] = [
    ("ctx_conv1_1", 3, 11, 1, 1),
    ("ctx_conv1_2", 3, 11, 1, 1),
    ("ctx_conv2_1", 3, 11, 2, 2),
    ("ctx_conv3_1", 3, 11, 4, 4),
    ("ctx_conv4_1", 3, 11, 8, 8),
    ("ctx_fc1", 3, 11, 1, 1),
    ("ctx_final", 1, 11, 1, 0),
]
CAMVID = [*KITTI[:5], ("ctx_conv5_1", 3, 11, 16, 16), *KITTI[5:]]
CITYSCAPES = [
    (name, kernel, 19, dilation, padding)
    for name, kernel, _, dilation, padding in [
        *CAMVID[:6],
        ("ctx_conv6_1", 3, 19, 32, 32),
        ("ctx_conv7_1", 3, 19, 64, 64),
        *CAMVID[6:],
    ]
]
RELEASED: dict[str, tuple[int, str, list[tuple[str, int, int, int, int]], tuple[int, int]]] = {
    # classes, the front end's last layer, the context module, height and width of the input
    "dilation8_voc": (21, "fc-final", VOC, (900, 900)),
    "dilation8_camvid": (11, "final", CAMVID, (900, 1100)),
    "dilation7_kitti": (11, "final", KITTI, (852, 1640)),
    "dilation10_cityscapes": (19, "final", CITYSCAPES, (1396, 1396)),
}
NARROW = [2, 3, 3, 4, 4, 5]


def network(name: str) -> ContextNet:
    """A released network at its full size, without memory."""
    with torch.device("meta"):
        built = build_network(settings(name), NETS[name].spec)
    assert isinstance(built, ContextNet)
    return built


@pytest.mark.parametrize("name", RELEASED)
def test_the_front_end_is_as_listed(name: str) -> None:
    classes, _, _, _ = RELEASED[name]
    layers = dict(network(name).front_end.layers.named_children())  # type: ignore[union-attr]
    maps = 3
    for layer, kernel, width, dilation in [*FRONT_END, ("final", 1, classes, 1)]:
        if layer.startswith("pool"):
            assert isinstance(layers[layer], nn.MaxPool2d)
            assert layers[layer].kernel_size == layers[layer].stride == kernel
            continue
        conv = layers[layer]
        assert isinstance(conv, nn.Conv2d)
        assert conv.weight.shape == (width, maps, kernel, kernel)
        assert (conv.dilation, conv.stride, conv.groups) == ((dilation,) * 2, (1, 1), 1)
        assert conv.bias is not None
        if isinstance(conv, DilatedConv2d):  # what saw its padding is cut off
            assert layers[f"crop{layer[4:]}"].margin == conv.margin == dilation
            assert conv.relu
        else:
            assert conv.padding == (0, 0)
            assert layer == "final" or isinstance(layers[f"relu{layer[-3:].strip('fc')}"], nn.ReLU)
        maps = width
    assert [layers[f"drop{number}"].p for number in (6, 7)] == [0.5, 0.5]


@pytest.mark.parametrize("name", RELEASED)
def test_the_context_module_is_as_listed(name: str) -> None:
    classes, _, layers, _ = RELEASED[name]
    context = network(name).context
    maps = classes
    for conv, (_, kernel, width, dilation, padding) in zip(
        context.convolutions, layers, strict=True
    ):
        assert conv.weight.shape == (width, maps, kernel, kernel)
        assert conv.dilation == (dilation, dilation)
        assert conv.bias is not None
        assert conv.relu == (kernel == 3)
        if context.padding == "same":
            assert conv.margin == padding
        maps = width
    if context.padding == "once":
        assert context.receptive_field // 2 == layers[0][-1] == 33
    assert maps == classes


def sides(net: ContextNet, image: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """Height and width of what enters each layer, and of the logits in the end."""
    entered: dict[str, tuple[int, ...]] = {}
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d):

            def keep(_: nn.Module, x: tuple[Tensor], name: str = name) -> None:
                entered[name.rpartition(".")[2] if "front" in name else name] = x[0].shape[2:]

            module.register_forward_pre_hook(keep)
    with torch.device("meta"):
        entered["logits"] = net(torch.empty(1, 3, *image)).shape[2:]
    return {name: tuple(side) for name, side in entered.items()}


def test_maps_of_voc_have_the_sides_of_the_list() -> None:
    """900 pixels with the margin; 66 class maps, padded to 132, shrink to 66 again."""
    found = sides(network("dilation8_voc"), (528, 528))
    names = [*(name for name, *_ in FRONT_END), "final"]
    assert [found[name][0] for name in names] == [900, *SIDES_900]
    context = [found[f"context.layers.{number}"][0] for number in range(8)]
    assert context == [132, 130, 128, 124, 116, 100, 68, 66]
    assert found["logits"] == (528, 528)


@pytest.mark.parametrize("name", RELEASED)
def test_inputs_of_the_released_size_give_an_output_for_every_8x8_pixels(name: str) -> None:
    """KITTI's 1,640 pixels are no whole number of outputs; Caffe rounds up in a pooling, to 159."""
    _, _, layers, size = RELEASED[name]
    height, width = (side - 372 for side in size)
    found = sides(network(name), (height, width))
    outputs = (-(-height // 8), -(-width // 8))
    assert found["conv1_1"] == (372 + 8 * outputs[0], 372 + 8 * outputs[1])
    assert found[f"context.layers.{len(layers) - 1}"] == outputs
    assert found["logits"] == (height, width)


def test_upsampling_is_as_released() -> None:
    found = {name: settings(name).front_end.upsampling for name in NETS}
    assert found == dict.fromkeys(NETS, "probabilities") | {
        "dilation10_cityscapes": "deconvolution"
    }


# conversion


def narrow(name: str) -> ContextNet:
    """A released network with few maps in the front end, in float64."""
    cfg = settings(name)
    cfg.front_end.widths, cfg.front_end.weights = NARROW, "random"
    net = build_network(cfg, NETS[name].spec).double().eval()
    assert isinstance(net, ContextNet)
    return net


def caffe_layers(name: str) -> dict[str, list[NDArray[np.float32]]]:
    """Random weights of a network with few maps in the front end, under the authors' names."""
    classes, final, context, _ = RELEASED[name]
    generator = np.random.default_rng(7)
    widths = {64: 2, 128: 3, 256: 3, 512: 4, 4096: 5}
    listed = [
        *(
            (layer, side, widths[width])
            for layer, side, width, _ in FRONT_END
            if "pool" not in layer
        ),
        (final, 1, classes),
        *((layer, side, width) for layer, side, width, *_ in context),
    ]
    layers: dict[str, list[NDArray[np.float32]]] = {}
    maps = 3
    for layer, kernel, width in listed:
        spread = (2 / (maps * kernel**2)) ** 0.5 / (50 if layer == "conv1_1" else 1)
        weight = generator.normal(0, spread, (width, maps, kernel, kernel))
        layers[layer] = [weight.astype("f4"), generator.normal(0, 0.1, width).astype("f4")]
        maps = width
    if name == "dilation10_cityscapes":
        line = [1 - abs(x / 8 - 15 / 16) for x in range(16)]
        bilinear = np.outer(line, line).astype("f4")
        layers["ctx_upsample"] = [np.tile(bilinear, (classes, 1, 1, 1))]
    return layers


def as_caffe(name: str, image: NDArray[np.uint8], mean: list[float]) -> Tensor:
    """The authors' computation on RGB bytes (H, W, 3), both a multiple of 8: probabilities.

    Blue, green, red; the mean subtracted; reflected as by OpenCV; unpadded layers; softmax.
    """
    classes, final, context, _ = RELEASED[name]
    layers = {
        layer: [torch.from_numpy(blob).double() for blob in blobs]
        for layer, blobs in caffe_layers(name).items()
    }

    def conv(layer: str, x: Tensor, dilation: int = 1, padding: int = 0) -> Tensor:
        weight, bias = layers[layer]
        return F.conv2d(x, weight, bias, padding=padding, dilation=dilation)

    pixels = np.pad(image[:, :, ::-1] - np.array(mean), [(186, 186), (186, 186), (0, 0)], "reflect")
    x = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None]
    for layer, _, _, dilation in FRONT_END:
        if layer.startswith("pool"):
            x = F.max_pool2d(x, 2, 2, ceil_mode=True)  # as Caffe rounds
        else:
            x = conv(layer, x, dilation).relu()
    x = conv(final, x)
    for layer, side, _, dilation, padding in context:
        x = conv(layer, x, dilation, padding)
        x = x.relu() if side == 3 else x
    if name == "dilation10_cityscapes":
        kernel = layers["ctx_upsample"][0]
        x = F.conv_transpose2d(x, kernel, stride=8, padding=4, groups=classes)
    return x.softmax(1)


@pytest.mark.parametrize("name", RELEASED)
def test_a_converted_network_computes_what_caffe_would(name: str) -> None:
    image = np.random.default_rng(1).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    net = narrow(name)
    net.load_state_dict(converted(caffe_layers(name), net, NETS[name]))
    mean = {  # of the authors, for blue, green and red
        "dilation8_voc": [102.93, 111.36, 116.52],
        "dilation8_camvid": [110.70313206, 108.77808759, 105.41212523],
        "dilation7_kitti": [96.19429688, 95.55136972, 91.34692262],
        "dilation10_cityscapes": [72.39239876, 82.90891754, 73.15835921],
    }[name]
    expected = as_caffe(name, image, mean)
    x = torch.from_numpy(image).movedim(-1, 0)[None].double() / 255
    found = net(x).softmax(1)
    if name != "dilation10_cityscapes":  # they enlarge probabilities from the first pixels
        found = found[:, :, ::8, ::8]
    assert expected.std() > 1e-3  # not all alike
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.fixture
def narrow_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets `convert` expect front ends with few maps."""
    whole = released.settings

    def few(name: str) -> Any:
        cfg = whole(name)
        cfg.front_end.widths, cfg.front_end.weights = NARROW, "random"
        return cfg

    monkeypatch.setattr(released, "settings", few)


@pytest.mark.usefixtures("narrow_nets")
@pytest.mark.parametrize("old", [False, True])
def test_a_file_becomes_a_run_that_predict_takes(
    old: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "dilation8_camvid"
    (tmp_path / "net.caffemodel").write_bytes(caffemodel(caffe_layers(name), old=old))
    out = tmp_path / "net"
    convert.main([name, str(tmp_path / "net.caffemodel"), str(out)])
    said = capsys.readouterr().out
    assert "weights of dilation8_camvid" in said
    assert "SHA-256" in said
    net, spec = load_network(out)
    assert spec == NETS[name].spec
    direct = narrow(name)
    direct.load_state_dict(converted(caffe_layers(name), direct, NETS[name]))
    x = torch.rand(1, 3, 9, 20)
    torch.testing.assert_close(net(x).double(), direct(x.double()), rtol=1e-3, atol=1e-4)
    pixels = np.random.default_rng(2).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "street.png")
    predict.main([str(out), str(tmp_path / "street.png"), "--out", str(tmp_path / "labels")])
    assert (tmp_path / "labels" / "street_labels.png").is_file()


@pytest.mark.parametrize("name", RELEASED)
def test_logits_in_tiles_are_those_of_the_whole_image(name: str) -> None:
    cfg = settings(name)
    cfg.front_end.widths, cfg.front_end.weights = NARROW, "random"
    cfg.model.widths = [1] * len(cfg.model.dilations)
    net = build_network(cfg, NETS[name].spec).double().eval()
    image = torch.randint(0, 256, (3, 41, 75), dtype=torch.uint8)
    with torch.no_grad():
        whole = net(network_input(image[None], torch.float64))[0]
    assert float(whole.std(dim=(1, 2)).max()) > 1e-3
    torch.testing.assert_close(joined(net, image, 32, len(whole)), whole, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", RELEASED)
def test_the_largest_image_is_not_too_large_for_the_memory(name: str) -> None:
    """In tiles of the default size; 134 million weights, of which none is computed."""
    inputs = largest_inputs(network(name), (3, 10_000, 10_000), TILE)
    assert max(memory_of(part, (1, *shape)) for part, shape in inputs) < MOST_MEMORY


def test_a_tile_that_is_too_large_for_the_memory_is_refused(tmp_path: Path) -> None:
    """conv1_1 gives 64 maps of the tile with its margin, 2,008 + 372 less 2 on each side."""
    name, file = "dilation8_camvid", tmp_path / "street.png"
    Image.linear_gradient("L").resize((2001, 2001)).convert("RGB").save(file)
    taken = 3.5 * 4 * 2 * 64 * 2378**2 / 1e9
    with pytest.raises(ValueError, match=rf"{taken:.1f} GB .* take a --tile below 2001"):
        label_pixels(network(name), NETS[name].spec, file, 2001)


def test_the_part_that_takes_the_most_memory_is_the_one_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 8x8 pixels in 3 maps and 24x16 in 11, the second."""
    parts = [(nn.Identity(), (3, 8, 8)), (nn.Identity(), (11, 16, 24))]
    monkeypatch.setattr(classify, "largest_inputs", lambda network, shape, tile: parts)
    monkeypatch.setattr(classify, "MOST_MEMORY", 3.5 * 4 * 2 * 11 * 16 * 24 - 1)
    name, file = "dilation8_camvid", tmp_path / "street.png"
    Image.linear_gradient("L").resize((40, 40)).convert("RGB").save(file)
    with pytest.raises(ValueError, match=r"a part of 24x16 pixels .* no smaller --tile"):
        label_pixels(network(name), NETS[name].spec, file, 32)


@pytest.mark.usefixtures("narrow_nets")
def test_a_run_starts_from_a_converted_network(tmp_path: Path) -> None:
    """With the same inputs and classes; else one message says what to set."""
    name, file, out = "dilation7_kitti", tmp_path / "net.caffemodel", tmp_path / "net"
    layers = caffe_layers(name)
    file.write_bytes(caffemodel(layers))
    convert.main([name, str(file), str(out)])
    cfg = released.settings(name)
    cfg.start_from = str(out)
    network = build_network(cfg, NETS[name].spec)
    start_from(cfg, network, NETS[name].spec)
    bias = network.get_parameter("context.layers.6.bias")
    assert np.array_equal(bias.detach().numpy(), layers["ctx_final"][1])
    cfg.front_end.mean = [0.5, 0.5, 0.5]
    with pytest.raises(ValueError, match=r"set front_end\.mean=\[0\.358"):
        start_from(cfg, network, NETS[name].spec)
    with pytest.raises(ValueError, match="been trained on KITTI with classes="):
        start_from(cfg, network, replace(NETS[name].spec, classes=("a",) * 11))


def change(layers: dict[str, Any], key: str, blobs: Any) -> dict[str, Any]:
    return {name: blobs if name == key else theirs for name, theirs in layers.items()}


LAYERS = caffe_layers("dilation8_camvid")
WRONG = [
    ({k: v for k, v in LAYERS.items() if k != "fc7"}, "it has no layer 'fc7'; it has conv1_1, "),
    (change(LAYERS, "fc7", LAYERS["fc7"][:1]), "layer 'fc7' has 1 blobs, not weights and bias"),
    (
        change(LAYERS, "ctx_fc1", LAYERS["fc7"]),
        "the weight of layer 'ctx_fc1' has shape [5, 5, 1, 1], not [11, 11, 3, 3]",
    ),
    (
        change(LAYERS, "fc7", [LAYERS["fc7"][0], np.full(5, np.nan, "f4")]),
        "the bias of layer 'fc7' is not finite",
    ),
    (LAYERS | {"ctx_conv6_1": LAYERS["ctx_fc1"]}, "it has other layers too: ctx_conv6_1"),
    (
        LAYERS | {"ctx_upsample": [np.ones((11, 1, 16, 16), "f4")]},
        "layer 'ctx_upsample' does not interpolate bilinearly",
    ),
    (caffe_layers("dilation7_kitti"), "it has no layer 'ctx_conv5_1'"),
    (caffe_layers("dilation8_voc"), "it has no layer 'final'"),
]


@pytest.mark.usefixtures("narrow_nets")
@pytest.mark.parametrize(("layers", "says"), WRONG)
def test_a_file_of_another_network_is_one_message_and_leaves_nothing(
    layers: dict[str, Any], says: str, tmp_path: Path
) -> None:
    file = tmp_path / "net.caffemodel"
    file.write_bytes(caffemodel(layers))
    with pytest.raises(SystemExit) as error:
        convert.main(["dilation8_camvid", str(file), str(tmp_path / "out")])
    assert str(error.value).startswith(f"{file} does not hold dilation8_camvid: {says}")
    assert list(tmp_path.iterdir()) == [file]


def test_an_existing_folder_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="already exists; delete it or name another directory"):
        convert.main(["dilation8_camvid", "nowhere", str(tmp_path)])


def test_the_names_are_those_of_the_experiments() -> None:
    assert set(convert.NAMES) == NETS.keys() == RELEASED.keys()
    for name, (classes, *_) in RELEASED.items():
        assert len(NETS[name].classes) == classes
        assert compose_config(f"experiment=paper/{name}").optimizer.bias_lr == 2


@pytest.mark.slow
def test_the_whole_network_of_camvid_is_converted(tmp_path: Path) -> None:
    """134 million weights; all but the last biases are 0."""
    net = network("dilation8_camvid")
    names = [*(name for name, *_ in FRONT_END if "pool" not in name), "final"]
    convs = [*net.front_end.convolutions.values(), *net.context.convolutions]  # type: ignore[operator]
    layers = {
        name: [np.zeros(conv.weight.shape, "f4"), np.zeros(len(conv.weight), "f4")]
        for name, conv in zip([*names, *(name for name, *_ in CAMVID)], convs, strict=True)
    }
    layers["ctx_final"][1][:] = np.arange(11)
    file, out = tmp_path / "net.caffemodel", tmp_path / "out"
    file.write_bytes(caffemodel(layers))
    convert.main(["dilation8_camvid", str(file), str(out)])
    loaded, _ = load_network(out)
    assert sum(p.numel() for p in loaded.parameters()) == sum(p.numel() for p in net.parameters())
    with torch.no_grad():
        labels = loaded(torch.rand(1, 3, 8, 8)).argmax(1)
    assert re.fullmatch(r"10( 10)*", " ".join(map(str, labels.flatten().tolist())))
    assert NETS["dilation8_camvid"].classes[10] == "bicyclist"


# recipes


STAGES: dict[str, tuple[float, float, int, int | None]] = {
    # the paper's learning rate, momentum, images a step and steps; the authors' where it has none
    "voc_front_end": (1e-3, 0.9, 14, 60_000),
    "voc_context": (1e-3, 0.9, 60, None),
    "voc_joint": (1e-5, 0.9, 14, None),
    "camvid_front_end": (1e-4, 0.99, 8, 20_000),
    "camvid_joint": (1e-5, 0.9, 1, None),
    "kitti_front_end": (1e-4, 0.99, 8, 10_000),
    "kitti_joint": (1e-5, 0.99, 1, 20_000),
    "cityscapes_front_end": (1e-4, 0.99, 8, 40_000),
    "cityscapes_context": (1e-4, 0.99, 100, 24_000),
    "cityscapes_joint": (1e-5, 0.99, 1, 60_000),
}
TRAINING_IMAGES = {"voc": 1464 - 146, "camvid": 367, "kitti": 100, "cityscapes": 2975 - 298}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_the_settings_of_the_paper(stage: str) -> None:
    rate, momentum, images, steps = STAGES[stage]
    cfg = compose_config(f"experiment=paper/{stage}")
    parts = cfg.trainer.get("accumulate_grad_batches", 1)
    assert (cfg.optimizer.lr, cfg.optimizer.momentum) == (rate, momentum)
    assert (cfg.optimizer.bias_lr, cfg.optimizer.weight_decay) == (2, 0.0005)
    assert cfg.data.batch_size * parts == images
    assert (cfg.data.mirror, cfg.data.zoom) == (True, 0)
    if steps is not None:
        per_epoch = -(-TRAINING_IMAGES[stage.partition("_")[0]] // images)
        assert cfg.trainer.max_epochs * per_epoch == pytest.approx(steps, rel=0.02)
    frozen, fresh, named = list(cfg.frozen), list(cfg.fresh), cfg.start_from
    if stage.endswith("front_end"):
        assert (frozen, fresh, named) == ([], [], None)
        assert cfg.front_end.weights == "imagenet"
    elif stage.endswith("context"):
        assert (frozen, fresh, named) == (["front_end"], ["context"], "")
    else:  # on CamVid and KITTI straight after the front end
        assert (frozen, named) == ([], "")
        assert fresh == (["context"] if stage in ("camvid_joint", "kitti_joint") else [])


@pytest.mark.parametrize("stage", STAGES)
def test_stages_of_one_data_set_have_one_front_end(stage: str) -> None:
    first, this = (
        compose_config(f"experiment=paper/{name}")
        for name in (f"{stage.partition('_')[0]}_front_end", stage)
    )
    assert this.front_end == first.front_end
    assert this.model.front_end == this.front_end
    with torch.device("meta"):
        spec = {"in_channels": 3, "image_size": (300, 400), "num_classes": 11, "dense": True}
        if stage.endswith("front_end"):
            assert isinstance(instantiate(this.model, **spec), FrontEndNet)
        else:
            assert isinstance(instantiate(this.model, **spec), ContextNet)
