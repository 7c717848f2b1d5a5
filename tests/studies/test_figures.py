"""The figures of the studies show what is recorded, seed by seed."""

import pytest
import torch
from matplotlib.figure import Figure

from studies import collapse, digits, feedback, gradients, mnist, post, scenes, starts
from studies.plots import draw_dots
from studies.results import recorded_curves

FIGURES = {
    name: draw
    for module in (digits, mnist, post, scenes, gradients, starts, feedback, collapse)
    for name, draw in module.STUDY.figures.items()
    if name not in ("scene", "scenes_labels")  # which run networks
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_of_recorded_numbers_is_at_most_900_pixels_wide(name: str) -> None:
    figure = FIGURES[name]()
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()
    assert 700 <= 100 * figure.get_figwidth() <= 900


def test_every_variant_is_a_row_of_dots() -> None:
    axes = Figure().subplots()
    draw_dots(axes, {"one": [0.1, 0.2, 0.3], "two": [0.4]}, {"two": "black"})
    mean, one, two = axes.get_lines()
    assert list(mean.get_xdata()) == pytest.approx([0.2, 0.2])
    assert list(one.get_xdata()) == [0.1, 0.2, 0.3]
    assert list(two.get_ydata()) == [1]
    (interval,) = axes.patches  # of the one with several seeds
    assert interval.get_window_extent().width > 0
    assert [label.get_text() for label in axes.get_yticklabels()] == ["one", "two"]


def test_the_joint_stage_goes_on_where_the_stage_before_it_ended() -> None:
    (before, *_), (after, *_) = (
        recorded_curves("scenes", "lifted")["lifted"],
        recorded_curves("scenes", "lifted_joint")["lifted_joint"],
    )
    assert scenes.ious("lifted")[0] == before["val/iou"] + after["val/iou"]


@pytest.mark.parametrize(("rule", "distance"), [("auto", 4), ("manual", 4), ("broken", 1)])
def test_grad_x_reads_nine_pixels_of_grad_output(rule: str, distance: int) -> None:
    expected = torch.zeros(11, 11, dtype=torch.bool)
    expected[5 - distance : 6 + distance : distance, 5 - distance : 6 + distance : distance] = True
    assert gradients.pixels_read(rule).equal(expected)
