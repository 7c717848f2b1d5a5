"""The paper's front end against its list of layers, numpy's padding and plain convolutions."""

import re
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from context_agg.networks import vgg
from context_agg.networks.vgg import (
    VGGFrontEnd,
    bilinear_kernel,
    imagenet_file,
    seen_by,
    with_margin,
)

NARROW = [2, 3, 3, 4, 4, 5]
SIDES = [(500, 16), (628, 32), (852, 60), (884, 64), (900, 66), (1396, 128)]  # of the paper
BLOCKS = [(1, 2), (2, 2), (3, 3), (4, 3), (5, 3)]


def narrow(**options: Any) -> VGGFrontEnd:
    """A front end with few maps, in float64, whose biases are not zero."""
    options = {"in_channels": 3, "num_classes": 4, "dropout": 0.0, **options}
    torch.manual_seed(0)
    front_end = VGGFrontEnd(NARROW, **options).double()
    for conv in front_end.convolutions.values():
        assert conv.bias is not None
        nn.init.normal_(conv.bias, std=0.1)
    nn.init.normal_(front_end.convolutions["final"].weight)
    return front_end


def image(height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(height)
    return torch.rand(1, 3, height, width, generator=generator, dtype=torch.float64)


def by_hand(front_end: VGGFrontEnd, x: Tensor) -> Tensor:
    """The layers of the paper one by one, with nothing but unpadded convolutions and poolings."""
    layers = front_end.convolutions

    def conv(name: str, x: Tensor, dilation: int = 1) -> Tensor:
        return F.conv2d(x, layers[name].weight, layers[name].bias, dilation=dilation)

    for block, depth in BLOCKS:
        for number in range(1, depth + 1):
            x = conv(f"conv{block}_{number}", x, 2 if block == 5 else 1).relu()
        if block <= 3:
            x = F.max_pool2d(x, 2, 2)
    x = conv("fc6", x, 4).relu()
    x = conv("fc7", x).relu()
    return conv("final", x)


@pytest.mark.parametrize(("side", "outputs"), SIDES)
def test_class_maps_have_the_sides_of_the_paper(side: int, outputs: int) -> None:
    with torch.device("meta"):
        front_end = VGGFrontEnd(in_channels=3, num_classes=21)
        assert front_end.class_maps(torch.empty(2, 3, side, side)).shape == (
            2,
            21,
            outputs,
            outputs,
        )
    assert outputs == (side - 372) / 8


@pytest.mark.parametrize("size", [(8, 16), (9, 15), (1, 1), (180, 240), (357, 483)])
def test_an_image_has_a_class_map_for_every_block_of_8x8(size: tuple[int, int]) -> None:
    with torch.device("meta"):
        front_end = VGGFrontEnd(in_channels=3, num_classes=11)
        maps = front_end(torch.empty(1, 3, *size))
        assert maps.shape == (1, 11, *(-(-side // 8) for side in size))
        for upsampling in vgg.UPSAMPLINGS:
            front_end.upsampling = upsampling
            assert front_end.enlarge(maps, torch.empty(1, 3, *size)).shape == (1, 11, *size)


@pytest.mark.parametrize("side", [372, 379, 381, 627, 631])
def test_a_side_that_gives_no_whole_number_of_outputs_is_refused(side: int) -> None:
    with torch.device("meta"):
        front_end = VGGFrontEnd(in_channels=3, num_classes=11)
        with pytest.raises(ValueError, match=f"{side}x380; each side must be 372 and a multiple"):
            front_end.class_maps(torch.empty(1, 3, side, 380))


@pytest.mark.parametrize("backprop", ["auto", "manual", "manual_taps"])
def test_class_maps_are_those_of_unpadded_layers(backprop: str) -> None:
    front_end, x = narrow(backprop=backprop), image(388, 380)
    maps = front_end.class_maps(x)
    assert maps.shape == (1, 4, 2, 1)
    torch.testing.assert_close(maps, by_hand(front_end, x), rtol=1e-12, atol=1e-12)


def test_gradients_are_those_of_unpadded_layers() -> None:
    front_end = narrow(backprop="manual_torch")
    parameters = list(front_end.parameters())
    x = image(380, 380)
    torch.manual_seed(1)
    along = torch.randn(1, 4, 1, 1, dtype=torch.float64)
    ours = torch.autograd.grad(front_end.class_maps(x), parameters, along)
    expected = torch.autograd.grad(by_hand(front_end, x), parameters, along)
    for gradient, right in zip(ours, expected, strict=True):
        torch.testing.assert_close(gradient, right, rtol=1e-10, atol=1e-12)
        assert right.any()


def test_a_wrong_rule_reaches_the_dilated_layers_and_no_other() -> None:
    right, wrong = narrow(backprop="auto"), narrow(backprop="undilated_grad_weight")
    x = image(380, 380)
    gradients = [
        torch.autograd.grad(net.class_maps(x).sum(), list(net.parameters()))
        for net in (right, wrong)
    ]
    names = [name for name, _ in right.named_parameters()]
    differ = {
        name.split(".")[1]
        for name, a, b in zip(names, *gradients, strict=True)
        if not torch.allclose(a, b)
    }
    assert differ == {"conv5_1", "conv5_2", "conv5_3"}


@pytest.mark.parametrize("size", [(200, 190), (187, 203), (40, 9), (2, 3), (1, 5)])
def test_the_margin_is_numpy_s_reflection(size: tuple[int, int]) -> None:
    """BORDER_REFLECT_101 of OpenCV; numpy reflects small images again and again too."""
    x = image(*size)
    after = [186 + (-side) % 8 for side in size]
    padding = [(0, 0), (0, 0), (186, after[0]), (186, after[1])]
    assert np.array_equal(with_margin(x).numpy(), np.pad(x.numpy(), padding, mode="reflect"))


@pytest.mark.parametrize("size", [(200, 190), (25, 9)])
def test_a_part_of_the_class_maps_sees_the_reflection_of_the_whole_image(
    size: tuple[int, int],
) -> None:
    x, rows, columns = image(*size), slice(1, 3), slice(0, 2)
    whole = np.pad(x.numpy(), [(0, 0), (0, 0), (186, 194), (186, 194)], mode="reflect")
    assert np.array_equal(seen_by(rows, columns, x).numpy(), whole[..., 8 : 24 + 372, 0 : 16 + 372])


def test_each_channel_is_normalised_before_the_margin() -> None:
    front_end = narrow(mean=[0.1, 0.2, 0.3], std=[0.5, 0.25, 2.0])
    x = image(8, 8)
    scaled = torch.stack([(x[:, 0] - 0.1) / 0.5, (x[:, 1] - 0.2) / 0.25, (x[:, 2] - 0.3) / 2], 1)
    expected = by_hand(front_end, with_margin(scaled))
    torch.testing.assert_close(front_end(x), expected, rtol=1e-12, atol=1e-12)


def test_it_is_normalised_as_torchvision_s_weights_want() -> None:
    from torchvision.models import VGG16_Weights

    wanted = VGG16_Weights.IMAGENET1K_V1.transforms()
    with torch.device("meta"):
        front_end = VGGFrontEnd(in_channels=3, num_classes=2)
    assert list(front_end.mean) == wanted.mean
    assert list(front_end.std) == wanted.std


def test_an_output_sees_380_pixels_around_its_own_8x8() -> None:
    """With positive weights nothing cancels and no ReLU is 0, so the gradient's support is it."""
    front_end = VGGFrontEnd([1] * 6, in_channels=3, num_classes=1, dropout=0.0).double()
    for parameter in front_end.parameters():
        nn.init.constant_(parameter, 0.1)
    # The maximum of a pooling block passes the gradient on to one pixel only: make it a mean
    for name in ("pool1", "pool2", "pool3"):
        setattr(front_end.layers, name, nn.AvgPool2d(2))
    x = torch.ones(1, 3, 404, 396, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(front_end.class_maps(x)[0, 0, 2, 1], x)
    rows, columns = grad[0].sum(0).nonzero(as_tuple=True)
    assert (int(rows.min()), int(rows.max())) == (16, 16 + 379)
    assert (int(columns.min()), int(columns.max())) == (8, 8 + 379)


# enlarging


def all_pixels(maps: Tensor, first: float) -> Tensor:
    """Bilinear between the values of 8x8 blocks; `first` is where in its block a value lies."""
    _, classes, height, width = maps.shape
    enlarged = torch.zeros(1, classes, 8 * height, 8 * width, dtype=maps.dtype)
    for i in range(8 * height):
        for j in range(8 * width):
            v = min(max((i - first) / 8, 0), height - 1)
            u = min(max((j - first) / 8, 0), width - 1)
            top, left = int(v), int(u)
            down, right = min(top + 1, height - 1), min(left + 1, width - 1)
            v, u = v - top, u - left
            above = (1 - u) * maps[0, :, top, left] + u * maps[0, :, top, right]
            below = (1 - u) * maps[0, :, down, left] + u * maps[0, :, down, right]
            enlarged[0, :, i, j] = (1 - v) * above + v * below
    return enlarged


def class_maps() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, 4, 3, 2, generator=generator, dtype=torch.float64)


def test_bilinear_values_lie_in_the_middle_of_their_blocks() -> None:
    maps = class_maps()
    torch.testing.assert_close(vgg.UPSAMPLINGS["bilinear"](maps), all_pixels(maps, 3.5))


def test_probabilities_lie_at_the_first_pixels_of_their_blocks() -> None:
    maps = class_maps()
    enlarged = vgg.UPSAMPLINGS["probabilities"](maps)
    torch.testing.assert_close(enlarged.softmax(1), all_pixels(maps.softmax(1), 0.0))
    torch.testing.assert_close(enlarged[:, :, ::8, ::8].softmax(1), maps.softmax(1))


def test_probabilities_that_vanish_keep_a_finite_logarithm() -> None:
    maps = torch.tensor([0.0, -200.0]).reshape(1, 2, 1, 1).requires_grad_()
    enlarged = vgg.UPSAMPLINGS["probabilities"](maps)
    enlarged.sum().backward()
    assert enlarged.isfinite().all()
    assert maps.grad is not None
    assert maps.grad.isfinite().all()


def test_deconvolution_is_bilinear_but_at_the_border() -> None:
    maps = class_maps()
    enlarged = vgg.UPSAMPLINGS["deconvolution"](maps)
    whole = vgg.UPSAMPLINGS["bilinear"](maps)
    torch.testing.assert_close(enlarged[..., 4:-4, 4:-4], whole[..., 4:-4, 4:-4])
    torch.testing.assert_close(enlarged[..., 0, 4], whole[..., 0, 4] * 9 / 16)  # 4.5 of 8 pixels


def test_the_kernel_is_that_of_caffe_s_bilinear_filler() -> None:
    """For a side of 16: 1 - |x / 8 - 15 / 16| along each axis."""
    line = [1 - abs(x / 8 - 15 / 16) for x in range(16)]
    expected = [[a * b for b in line] for a in line]
    torch.testing.assert_close(bilinear_kernel(), torch.tensor(expected, dtype=torch.float64))


# weights


def fake_imagenet(widths: list[int]) -> dict[str, Tensor]:
    """Random weights under the names and in the shapes of torchvision's VGG-16."""
    generator = torch.Generator().manual_seed(3)
    state: dict[str, Tensor] = {}

    def add(name: str, *shape: int) -> None:
        state[f"{name}.weight"] = torch.randn(shape, generator=generator)
        state[f"{name}.bias"] = torch.randn(shape[0], generator=generator)

    numbers = iter([0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28])
    maps = 3
    for width, (_, depth) in zip(widths[:-1], BLOCKS, strict=True):
        for _ in range(depth):
            add(f"features.{next(numbers)}", width, maps, 3, 3)
            maps = width
    add("classifier.0", widths[-1], maps * 49)
    add("classifier.3", widths[-1], widths[-1])
    add("classifier.6", 1000, widths[-1])
    return state


def test_imagenet_s_layers_are_those_of_torchvision() -> None:
    from torchvision.models import vgg16

    with torch.device("meta"):
        theirs = {name: tuple(w.shape) for name, w in vgg16(weights=None).state_dict().items()}
        ours = VGGFrontEnd(in_channels=3, num_classes=2)
    shapes = {name: tuple(w.shape) for name, w in fake_imagenet(list(vgg.WIDTHS)).items()}
    assert shapes == theirs
    counts = [conv.weight.numel() for conv in ours.convolutions.values()][:-1]
    assert counts == [np.prod(theirs[f"{name}.weight"]) for name in vgg.torchvision_names()]


def test_imagenet_s_matrices_become_kernels(tmp_path: Path) -> None:
    state = fake_imagenet(NARROW)
    torch.save(state, tmp_path / "vgg.pth")
    front_end = VGGFrontEnd(NARROW, in_channels=3, num_classes=2)
    final = front_end.convolutions["final"].weight.clone()
    front_end.load_imagenet(tmp_path / "vgg.pth")
    convs = front_end.convolutions
    assert torch.equal(convs["conv1_1"].weight, state["features.0.weight"])
    assert torch.equal(convs["conv3_2"].weight, state["features.12.weight"])
    assert torch.equal(convs["conv5_3"].bias, state["features.28.bias"])
    matrix = state["classifier.0.weight"]  # of maps (C, 7, 7) that are flattened
    for c, i, j in ((0, 0, 0), (1, 2, 3), (3, 6, 5)):
        assert torch.equal(convs["fc6"].weight[:, c, i, j], matrix[:, c * 49 + i * 7 + j])
    assert torch.equal(convs["fc7"].weight[:, :, 0, 0], state["classifier.3.weight"])
    assert torch.equal(convs["final"].weight, final)


def test_without_weights_of_imagenet_the_class_maps_start_near_zero() -> None:
    front_end = VGGFrontEnd(NARROW, in_channels=3, num_classes=4)
    spread = front_end.convolutions["final"].weight.std()
    assert 0.0003 < spread < 0.003  # N(0, 0.001)
    assert not front_end.convolutions["final"].bias.any()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop("features.7.bias"), "features.7.bias is absent"),
        (lambda s: s.update({"classifier.0.weight": torch.zeros(5, 4)}), r"shape \(5, 4\), but"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    change: Callable[[dict[str, Tensor]], object], says: str, tmp_path: Path
) -> None:
    state = fake_imagenet(NARROW)
    change(state)
    torch.save(state, tmp_path / "vgg.pth")
    with pytest.raises(ValueError, match=says):
        VGGFrontEnd(NARROW, in_channels=3, num_classes=2).load_imagenet(tmp_path / "vgg.pth")


def test_a_file_that_is_not_torch_s_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vgg.pth").write_text("<html>")
    with pytest.raises(ValueError, match=r"cannot read .*vgg\.pth"):
        VGGFrontEnd(NARROW, in_channels=3, num_classes=2).load_imagenet(tmp_path / "vgg.pth")


def test_what_to_do_without_a_file_and_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(FileNotFoundError) as error:
        imagenet_file()
    said = str(error.value)
    for part in (f"{tmp_path}/hub/checkpoints/vgg16-397923af.pth", "no route", "TORCH_HOME"):
        assert part in said
    assert "front_end.weights=random" in said
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / "vgg16-397923af.pth").write_bytes(b"half of it")
    with pytest.raises(ValueError, match="does not have its checksum; delete it"):
        imagenet_file()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"widths": [64, 128]}, "have 6 numbers: for the five blocks, and one for fc6 and fc7"),
        ({"widths": [0] * 6}, "widths=[0, 0, 0, 0, 0, 0] must be a list of whole numbers"),
        ({"weights": "imagnet"}, "unknown weights='imagnet'; choose one of imagenet, random"),
        ({"widths": NARROW, "weights": "imagenet"}, "use front_end.weights=random"),
        ({"mean": [0.5]}, "mean=[0.5] must have a number for each channel"),
        ({"std": [1, 0, 1]}, "std=0 must be a finite number"),
        ({"upsampling": "nearest"}, "unknown upsampling='nearest'"),
        ({"dropout": 2}, "dropout=2 must be"),
        ({"in_channels": 1}, "these have 1; take front_end=small"),
    ],
)
def test_a_front_end_that_cannot_be_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)), torch.device("meta"):
        VGGFrontEnd(**{"in_channels": 3, "num_classes": 2, **options})
