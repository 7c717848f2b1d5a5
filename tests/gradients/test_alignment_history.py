"""The figure of a run's alignments."""

from pathlib import Path

from context_agg.gradients.alignment_history import plot_alignment, read_alignment


def test_the_figure_has_the_layers_from_top_to_bottom(tmp_path: Path) -> None:
    lines = ["step,layer,cosine,norm_ratio,sign_agreement,loss_decrease"]
    lines += [f"{step},{layer},0.5,nan,1,0.1" for step in (0, 50) for layer in ("a", "b")]
    (tmp_path / "gradients.csv").write_text("\n".join(lines) + "\n")
    table = read_alignment(tmp_path / "gradients.csv")
    assert (table.steps, table.layers) == ([0, 50], ["a", "b"])
    figure = plot_alignment(table)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["a", "b"]
    assert figure.axes[0].yaxis_inverted()
