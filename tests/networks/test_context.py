"""The context module against Table 1 and equations 4 and 5 of the paper."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from context_agg import ContextModule, DilatedConv2d, identity_init_, receptive_field
from context_agg.ops import CONV_OPS

TABLE_1_DILATIONS = [1, 1, 2, 4, 8, 16, 1, 1]
TABLE_1_VIEWS = [3, 5, 9, 17, 33, 65, 67, 67]
TABLE_1_BASIC = [1, 1, 1, 1, 1, 1, 1, 1]
TABLE_1_LARGE = [2, 2, 4, 8, 16, 32, 32, 1]


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


# Table 1


@pytest.mark.parametrize(
    ("module", "widths"),
    [(ContextModule.basic(3), TABLE_1_BASIC), (ContextModule.large(3), TABLE_1_LARGE)],
)
def test_layers_are_those_of_table_1(module: ContextModule, widths: list[int]) -> None:
    layers = module.convolutions
    assert [conv.dilation for conv in layers] == [(d, d) for d in TABLE_1_DILATIONS]
    assert [conv.kernel_size for conv in layers] == [(3, 3)] * 7 + [(1, 1)]
    assert [conv.out_channels for conv in layers] == [3 * width for width in widths]
    assert [conv.in_channels for conv in layers] == [3] + [3 * width for width in widths[:-1]]
    assert [conv.relu for conv in layers] == [True] * 7 + [False]


@pytest.mark.parametrize(
    ("channels", "basic", "large"),
    [
        (10, (6_400, 80), (1_542_200, 970)),
        (11, (7_744, 88), (1_866_062, 1_067)),
        (19, (23_104, 152), (5_567_342, 1_843)),
        (21, (28_224, 168), (6_801_102, 2_037)),
    ],
)
def test_parameter_counts(channels: int, basic: tuple[int, int], large: tuple[int, int]) -> None:
    for module, (weights, biases) in (
        (ContextModule.basic(channels), basic),
        (ContextModule.large(channels), large),
    ):
        counts = {"weight": 0, "bias": 0}
        for name, parameter in module.named_parameters():
            counts[name.split(".")[-1]] += parameter.numel()
        assert counts == {"weight": weights, "bias": biases}


def test_receptive_field_by_layer() -> None:
    kernels = [3] * 7 + [1]
    for depth, view in enumerate(TABLE_1_VIEWS, start=1):
        spatial = [d for d, k in zip(TABLE_1_DILATIONS[:depth], kernels, strict=False) if k == 3]
        assert receptive_field(spatial) == view
    assert receptive_field((1, 2), kernel_size=5) == 13
    assert receptive_field(()) == 1


@pytest.mark.parametrize("backprop", ["auto", "manual"])
def test_receptive_field_measured_from_the_support_of_the_gradient(backprop: str) -> None:
    """With positive weights nothing cancels and no ReLU is 0, so the support is the view."""
    module = ContextModule.basic(1, backprop=backprop).double()
    for parameter in module.parameters():
        nn.init.constant_(parameter, 0.1)
    x = torch.ones(1, 1, 81, 75, dtype=torch.float64, requires_grad=True)
    depth_views = []
    y = x
    for conv in module.convolutions:
        y = conv(y)
        (grad,) = torch.autograd.grad(y[0, 0, 40, 37], x, retain_graph=True)
        rows, columns = (grad[0, 0] != 0).nonzero(as_tuple=True)
        assert 40 - rows.min() == rows.max() - 40
        assert rows.max() - rows.min() == columns.max() - columns.min()
        depth_views.append(int(rows.max() - rows.min()) + 1)
    assert depth_views == TABLE_1_VIEWS


# equations 4 and 5


def weight_by_equation_5(c_in: int, c_out: int, channels: int, side: int) -> Tensor:
    """Eq. 4 and 5 written out index by index, as printed, in whole numbers."""
    weight = torch.zeros(c_out, c_in, side, side)
    for b in range(c_out):
        for a in range(c_in):
            if (a * channels) // c_in == (b * channels) // c_out:
                weight[b, a, side // 2, side // 2] = channels / c_out
    return weight


@pytest.mark.parametrize("widths", [(1, 1), (1, 2), (2, 4), (4, 8), (32, 1)])
@pytest.mark.parametrize("side", [1, 3, 5])
@pytest.mark.parametrize("channels", [1, 2, 3, 7])
def test_identity_init_is_equation_5(channels: int, side: int, widths: tuple[int, int]) -> None:
    conv = nn.Conv2d(widths[0] * channels, widths[1] * channels, side)
    identity_init_(conv, channels)
    right = weight_by_equation_5(conv.in_channels, conv.out_channels, channels, side)
    assert_close(conv.weight.detach(), right, rtol=0, atol=0)
    assert conv.bias is not None
    assert not conv.bias.any()


@pytest.mark.parametrize("sides", [(3, 5), (5, 1), (1, 7)])
def test_an_oblong_kernel_passes_its_input_on(sides: tuple[int, int]) -> None:
    conv = nn.Conv2d(2, 2, sides, padding=(sides[0] // 2, sides[1] // 2)).double()
    identity_init_(conv, 2)
    x = random(1, 2, 6, 7)
    assert_close(conv(x), x, rtol=0, atol=0)


def test_noise_is_off_the_identity_taps_and_in_units_of_them() -> None:
    conv = nn.Conv2d(40, 80, 3)
    torch.manual_seed(0)
    identity_init_(conv, 20, noise_std=0.03)
    on_taps = weight_by_equation_5(40, 80, 20, 3) > 0
    weight = conv.weight.detach()
    assert (weight[on_taps] == 0.25).all()
    noise = weight[~on_taps]
    assert noise.std().item() == pytest.approx(0.03 * 0.25, rel=0.03)
    assert abs(noise.mean().item()) < 4 * 0.03 * 0.25 / noise.numel() ** 0.5


@pytest.mark.parametrize("padding", ["same", "once", "valid"])
@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("kind", ["basic", "large"])
def test_noiseless_identity_init_gives_exactly_relu(kind: str, channels: int, padding: str) -> None:
    build = getattr(ContextModule, kind)
    module = build(channels, init_std=0.0, padding=padding).double()
    # Large adds up to 32 copies, which is exact if the input's bits leave room for the sums
    x = (random(2, channels, 69, 71) * 256).round() / 256
    expected = x.clamp(min=0)
    if padding == "valid":
        expected = expected[..., 33:-33, 33:-33]
    assert_close(module(x), expected, rtol=0, atol=0)


@pytest.mark.parametrize(("kind", "rounding"), [("basic", 0.0), ("large", 1e-14)])
def test_noiseless_identity_init_on_any_input(kind: str, rounding: float) -> None:
    module = getattr(ContextModule, kind)(3, init_std=0.0).double()
    x = random(2, 3, 20, 17)
    assert_close(module(x), x.clamp(min=0), rtol=rounding, atol=0)


def test_basic_has_no_noise_and_large_breaks_ties_by_default() -> None:
    basic, large = ContextModule.basic(2), ContextModule.large(2)
    assert sum(int((conv.weight != 0).sum()) for conv in basic.convolutions) == 8 * 2
    for conv in large.convolutions[:-1]:
        maps = conv.weight.detach().flatten(1)
        assert len(maps.unique(dim=0)) == conv.out_channels  # no two maps alike
    x = random(1, 2, 64, 64).float()
    deviation = (large(x) - x.relu()).std() / x.relu().std()
    assert deviation < 0.2


@pytest.mark.parametrize(("init", "std"), [("normal", 0.1), ("kaiming", None), ("xavier", None)])
def test_random_inits_have_the_spread_they_promise(init: str, std: float | None) -> None:
    torch.manual_seed(0)
    module = ContextModule.basic(48, init=init)
    for conv in module.convolutions:
        fan = conv.weight[0].numel()
        gain = 2.0 if conv.relu else 1.0
        right = std or {"kaiming": (gain / fan) ** 0.5, "xavier": (1 / fan) ** 0.5}[init]
        assert conv.weight.std().item() == pytest.approx(right, rel=0.05)
        assert conv.bias is not None
        assert not conv.bias.any()


def test_init_std_sets_the_spread_of_normal() -> None:
    torch.manual_seed(0)
    module = ContextModule.basic(32, init="normal", init_std=0.5)
    assert module.convolutions[0].weight.std().item() == pytest.approx(0.5, rel=0.05)


# padding


def plain_stack(module: ContextModule, x: Tensor) -> Tensor:
    """Runs the module's layers as unpadded convolutions of PyTorch."""
    for conv in module.convolutions:
        x = F.conv2d(x, conv.weight, conv.bias, dilation=conv.dilation)
        x = x.clamp(min=0) if conv.relu else x
    return x


def module_with_random_bias(padding: str) -> ContextModule:
    module = ContextModule(
        2, (1, 2, 4), (1, 2, 1), init="kaiming", padding=padding, backprop="manual"
    ).double()
    for conv in module.convolutions:
        nn.init.normal_(conv.bias, generator=torch.Generator().manual_seed(1))
    return module


def test_valid_is_the_unpadded_stack() -> None:
    module, x = module_with_random_bias("valid"), random(1, 2, 19, 16)
    assert_close(module(x), plain_stack(module, x))
    assert module(x).shape[-2:] == module.output_size((19, 16)) == (5, 2)


def test_once_is_the_unpadded_stack_on_a_padded_input() -> None:
    module, x = module_with_random_bias("once"), random(1, 2, 6, 9)
    assert_close(module(x), plain_stack(module, F.pad(x, (7, 7, 7, 7))))
    assert module.output_size((6, 9)) == (6, 9)


def test_same_agrees_with_valid_away_from_the_border_only() -> None:
    module, x = module_with_random_bias("same"), random(1, 2, 20, 17)
    inner = plain_stack(module, x)
    y = module(x)
    assert y.shape == x.shape
    assert_close(y[..., 7:-7, 7:-7], inner)
    once = plain_stack(module, F.pad(x, (7, 7, 7, 7)))
    assert not torch.allclose(y, once)


def test_valid_refuses_an_image_smaller_than_its_view() -> None:
    module = ContextModule.basic(1, padding="valid")
    assert module(torch.zeros(1, 1, 67, 67)).shape == (1, 1, 1, 1)
    with pytest.raises(ValueError, match=r"66x70.*at least 67x67"):
        module(torch.zeros(1, 1, 66, 70))


# DilatedConv2d


@pytest.mark.parametrize("backprop", CONV_OPS)
def test_dilated_conv_is_an_nn_conv2d(backprop: str) -> None:
    conv = DilatedConv2d(3, 4, 5, 2, relu=True, backprop=backprop).double()
    plain = nn.Conv2d(3, 4, 5, padding=4, dilation=2).double()
    plain.load_state_dict(conv.state_dict())
    x = random(2, 3, 9, 8)
    assert isinstance(conv, nn.Conv2d)
    assert_close(conv(x), plain(x).clamp(min=0))
    assert f"relu=True, backprop='{backprop}'" in repr(conv)


@pytest.mark.parametrize("backprop", CONV_OPS)
def test_what_follows_can_change_the_output_in_place(backprop: str) -> None:
    conv, x = DilatedConv2d(3, 3, 3, 2, backprop=backprop).double(), random(2, 3, 5, 5)
    x.requires_grad_()
    grads = []
    for y in ((conv(x) + x).relu(), conv(x).add_(x).relu_()):
        grads.append(torch.autograd.grad(y.square().sum(), (x, conv.weight)))
    for ours, right in zip(*grads, strict=True):
        assert_close(ours, right)


def test_the_way_to_convolve_can_be_changed_on_a_built_layer() -> None:
    conv, x = DilatedConv2d(1, 1, 3, 2).double(), random(1, 1, 7, 7)
    grads = {}
    for backprop in ("auto", "manual", "broken"):
        conv.backprop = backprop
        (grads[backprop],) = torch.autograd.grad(conv(x).square().sum(), conv.weight)
    assert_close(grads["manual"], grads["auto"])
    assert not torch.allclose(grads["broken"], grads["auto"])


# mistakes

MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"channels": 0}, "channels=0 must"),
    ({"channels": 1.5}, "channels=1.5 must"),
    ({"dilations": (1, 2), "widths": (1,)}, r"2 dilations \[1, 2\] but 1 widths \[1\]"),
    ({"dilations": (1, 0), "widths": (1, 1)}, r"dilations=\[1, 0\] must"),
    ({"dilations": (1, 2), "widths": (1, -1)}, r"widths=\[1, -1\] must"),
    ({"init": "identiti"}, "init='identiti'; choose one of identity, normal, kaiming, xavier"),
    ({"init_std": -0.1}, "init_std=-0.1 must"),
    ({"init": "xavier", "init_std": 0.1}, "init_std=0.1 has no effect with init='xavier'"),
    ({"padding": "reflect"}, "padding='reflect'; choose one of same, once, valid"),
    ({"backprop": "manul"}, "backprop='manul'; choose one of auto, manual"),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES)
def test_a_wrong_option_is_refused_with_its_value(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ContextModule(**{"channels": 2, **options})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 1, 4), "kernel_size=4 must be odd"),
        ((1, 1, (3, 3)), r"kernel_size=\(3, 3\) must be odd"),
        ((1, 1, "3"), "kernel_size='3' must be odd"),
        ((1, 1, 3, 0), "dilation=0 must"),
    ],
)
def test_a_wrong_layer_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DilatedConv2d(*arguments)


@pytest.mark.parametrize(
    ("conv", "options", "message"),
    [
        (nn.Conv2d(6, 8, 3), {"channels": 3}, "channels=3 does not divide out_channels=8"),
        (nn.Conv2d(2, 2, 3), {"channels": 0}, "channels=0 must"),
        (nn.Conv2d(2, 2, 3), {"channels": 2, "noise_std": -1}, "noise_std=-1 must"),
        (nn.Conv2d(2, 2, (3, 2)), {"channels": 2}, "kernel of 3x2 and groups=1 cannot pass"),
        (nn.Conv2d(2, 2, 3, groups=2), {"channels": 2}, "kernel of 3x3 and groups=2 cannot pass"),
    ],
)
def test_identity_init_refuses_what_cannot_be_the_identity(
    conv: nn.Conv2d, options: dict[str, Any], message: str
) -> None:
    before = conv.weight.detach().clone()
    with pytest.raises(ValueError, match=message):
        identity_init_(conv, **options)
    assert_close(conv.weight.detach(), before, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(9,), (9, 9), (2, 9, 9), (1, 1, 2, 9, 9)])
def test_maps_without_four_axes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"x has shape \(.*\); it must have 4 axes"):
        ContextModule.basic(2)(torch.zeros(shape))


# recomputing


@pytest.mark.parametrize("recompute", [1, 2, 3, 8, 20])
@pytest.mark.parametrize("padding", ["same", "once", "valid"])
@pytest.mark.parametrize("backprop", ["auto", "manual", "manual_taps"])
def test_recomputed_maps_give_the_same_gradients_to_the_bit(
    backprop: str, padding: str, recompute: int
) -> None:
    x = random(2, 2, 23, 20)
    results = []
    for layers in (None, recompute):
        torch.manual_seed(0)
        module = ContextModule(
            2, (1, 2, 4), (2, 1, 2), padding=padding, backprop=backprop, recompute=layers
        ).double()
        leaf = x.clone().requires_grad_()
        y = module(leaf)
        results.append((y, *torch.autograd.grad(y.square().sum(), [leaf, *module.parameters()])))
    for kept, recomputed in zip(*results, strict=True):
        assert torch.equal(kept, recomputed)


def test_recomputing_keeps_only_what_enters_every_nth_layer() -> None:
    """Large has 1, 2, 2, 4, 8, 16, 32 and 32 C maps before its layers."""
    before = [1, 2, 2, 4, 8, 16, 32, 32]
    for recompute, kept in ((None, before), (1, before), (2, before[::2]), (3, before[::3])):
        module = ContextModule.large(2, backprop="manual_torch", recompute=recompute)
        weights = {parameter.data_ptr() for parameter in module.parameters()}
        seen: dict[int, int] = {}

        def keep(tensor: Tensor, seen: dict[int, int] = seen) -> Tensor:
            seen[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            y = module(torch.randn(1, 2, 9, 9, requires_grad=True))
        maps = [size // 81 for place, size in seen.items() if place not in weights]
        assert sum(maps) == 2 * sum(kept), recompute
        assert y.requires_grad


def test_nothing_is_recomputed_without_gradients_or_by_default() -> None:
    module = ContextModule.basic(2, recompute=2)
    with torch.no_grad():
        assert not module(torch.randn(1, 2, 9, 9)).requires_grad
    assert ContextModule.basic(2).recompute is None
    with pytest.raises(ValueError, match="recompute=0 must be a whole number, 1 or more"):
        ContextModule.basic(2, recompute=0)
