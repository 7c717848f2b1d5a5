"""What an operator raised, in a line."""

import re
from textwrap import shorten

MOST = 300  # letters; some messages of PyTorch fill a page


def said(error: Exception) -> str:
    """The error, and what can be done where that is known."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {shorten(text, MOST)}{_hint(text)}"


def _hint(text: str) -> str:
    if "is not differentiable with respect to argument" in text:
        return " Bind it, as in `lambda x: op(x, constant)`."
    shapes = re.search(r"got \[([\d, ]*)\] but expected .*\[([\d, ]*)\]", text)
    if shapes and sorted(shapes[1].split(", ")) == sorted(shapes[2].split(", ")):
        return ": its axes are exchanged"
    return ""
