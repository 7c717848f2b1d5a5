"""Colours and line styles of the figures."""

COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
"""The palette of Okabe and Ito, which colour-blind readers can distinguish."""

LINES = ("-", "--", ":", "-.")


def variant_style(number: int) -> tuple[str, str]:
    """The colour and the line style of a report's variant, the same in the picture and the page."""
    return COLORS[number % len(COLORS)], LINES[number // 2 % len(LINES)]
