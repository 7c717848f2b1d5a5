"""The pictures of the study `convolutions` say what the functions say."""

from context_agg.analysis.filters import photograph
from context_agg.analysis.kronecker import compare_approximations, random_kernel
from context_agg.data.spec import DataSpec
from context_agg.networks.context_net import ContextNet
from context_agg.networks.lecture import LectureNet
from studies.convolution_plots import (
    describe_layers,
    plot_approximations,
    plot_architecture,
    plot_depth,
    plot_edges,
    plot_filters,
    plot_kernels,
    plot_pooling,
    plot_shift_errors,
)
from studies.layer_comparison import compare_layers

SPEC = DataSpec("digits", 1, (12, 10), tuple("abc"))


def context_net() -> ContextNet:
    return ContextNet(2, (1, 2, 4), (1, 1, 1), **SPEC.shapes)


def test_the_layers_in_words() -> None:
    assert describe_layers(context_net(), SPEC) == [
        "image\n1x12x10",
        "3x3, ReLU\n2x12x10",
        "3x3, ReLU\n2x12x10",
        "3x3, dilation 2, ReLU\n2x12x10",
        "3x3, dilation 4, ReLU\n2x12x10",
        "1x1\n2x12x10",
        "fully connected\n3",
    ]
    lecture = LectureNet("default", 0.0, **SPEC.shapes)
    assert describe_layers(lecture, SPEC)[1:3] == ["5x5\n32x12x10", "max pooling\n32x6x5"]


def test_the_architecture_has_a_box_per_layer() -> None:
    (axes,) = plot_architecture(context_net(), SPEC).axes
    assert len(axes.patches) == 7
    texts = [text.get_text() for text in axes.texts if text.get_text()]
    assert texts[3] == "3x3\ndilation 2\nReLU\n2x12x10"


def test_the_figure_has_a_line_per_network() -> None:
    (axes,) = plot_shift_errors({"dilated": [0, 0, 0], "pooling": [1.5, 0, 1.4]}).axes
    dilated, pooling = axes.lines
    assert list(dilated.get_ydata()) == [0, 0, 0]
    assert list(pooling.get_xdata()) == [1, 2, 3]
    assert axes.get_ylim()[0] < 0  # a line at 0 is seen


def test_kernels_and_pooling_have_a_panel_each() -> None:
    image = photograph(64)
    assert len(plot_filters(image).axes) == 3 * 7
    assert plot_pooling(image).axes[1].get_title() == "max pooling 8x8: 8x8"


def test_a_bar_is_an_error() -> None:
    assert len(plot_kernels().axes) == 8 + 1  # and the colour bar
    results = {"random": compare_approximations(random_kernel(0))}
    axes = plot_approximations(results).axes[0]
    heights = [patch.get_height() for patch in axes.patches]  # type: ignore[attr-defined]
    assert heights == [error for _, error in results["random"].values()]


def test_four_ways_to_a_wide_view() -> None:
    plain, pooling, large, dilated = compare_layers(channels=4, repeats=2)
    assert (plain.receptive_field, dilated.receptive_field, large.receptive_field) == (7, 15, 15)
    # (3 - 1) (1 + 2 + 4) + 1 for the convolutions, 1 + 2 for the pools
    assert pooling.receptive_field == 18
    assert pooling.resolution == 1 / 16
    assert plain.resolution == large.resolution == dilated.resolution == 1
    assert plain.parameters == dilated.parameters == pooling.parameters == 3 * (9 * 16 + 4)
    assert large.parameters == (9 + 25 + 81) * 16 + 12
    assert min(stack.milliseconds for stack in (plain, pooling, large, dilated)) > 0


def test_the_depth_of_a_stack_and_its_view() -> None:
    lines = {line.get_label(): list(line.get_ydata()) for line in plot_depth(4).axes[0].lines}
    assert lines["plain"] == [3, 5, 7, 9]
    assert lines["dilation 2^l"] == [3, 7, 15, 31]
    assert lines["dilation 3^l"] == [3, 9, 27, 81]
    assert lines["Table 1"] == [3, 5, 9, 17, 33, 65, 67]


def test_edges_say_how_far_they_see() -> None:
    assert plot_edges().axes[2].get_title() == "dilation 2 sees 5x5: 12x12"
