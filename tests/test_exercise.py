"""The exercise is written once, and checked from then on."""

from pathlib import Path

import pytest

from tests.command import call

WRITTEN = {
    "grad_x": "F.conv2d(g, weight.transpose(0, 1).flip(2, 3), padding=dilation, dilation=dilation)",
    "grad_weight": "torch.nn.grad.conv2d_weight(x, weight.shape, g, 1, dilation, dilation)",
    "grad_bias": "g.sum((0, 2, 3))",
}


def fill(file: Path, mask: str = "grad_output * (y > 0)", **answers: str) -> None:
    """Writes answers into the exercise."""
    text = file.read_text().replace("    grad_x = None", f"    g = {mask}\n    grad_x = None")
    for name, answer in answers.items():
        text = text.replace(f"    {name} = None", f"    {name} = {answer}")
    file.write_text(text.replace("import torch.nn", "import torch.nn.grad\nimport torch.nn", 1))


@pytest.fixture
def file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    path = tmp_path / "mine.py"
    assert call("exercise", str(path)) == 0
    assert "fill in its backward" in capsys.readouterr().out
    return path


def test_nothing_is_written_over(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = file.read_text()
    assert call("exercise", str(file)) == 1
    out = capsys.readouterr().out
    assert "still to be written: grad_x, grad_weight, grad_bias" in out
    assert file.read_text() == before


def test_the_exercise_does_not_hold_its_solution(file: Path) -> None:
    text = file.read_text()
    assert all(f"{name} = None" in text for name in WRITTEN)
    assert "flip" not in text
    assert "transpose" not in text


def test_a_right_answer_is_called_right(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(file, **WRITTEN)
    assert call("exercise", str(file)) == 0
    assert "Layer is right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ({"grad_bias": "g.sum((2, 3))[0]"}, "grad_bias counts only index 0 of axis 0 of y"),
        ({"grad_x": WRITTEN["grad_x"].replace(".flip(2, 3)", "")}, "the kernel not rotated"),
        (
            {"grad_weight": "torch.nn.grad.conv2d_weight(x, weight.shape, g, padding=1)"},
            "grad_weight is that of dilation 1",
        ),
        ({"mask": "grad_output"}, "where the output is 0: the mask of a ReLU missing"),
    ],
)
def test_a_slip_is_named(
    file: Path, answers: dict[str, str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(file, **{**WRITTEN, **answers})
    assert call("exercise", str(file)) == 1
    assert says in capsys.readouterr().out


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text("def forward(:\n")
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "text.txt").write_text("")
    for name, says in (
        ("wrong.py", "SyntaxError"),
        ("empty.py", "has no attribute 'forward'"),
        ("text.txt", "its name has to end in .py"),
    ):
        assert says in str(call("exercise", str(tmp_path / name)))
    assert "its name has to end in .py" in str(call("exercise", str(tmp_path / "mine")))
    assert not (tmp_path / "mine").exists()
    assert "No such file" in str(call("exercise", str(tmp_path / "none" / "mine.py")))


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (
            "grad_x, grad_bias",
            "it returns 2 values, but must return grad_x, grad_weight, grad_bias",
        ),
        ("g", "it returns one value, but must return grad_x, grad_weight, grad_bias"),
        ("grad_x, grad_weight, g.sum()", "grad_bias has the shape (), but that of bias is (2,)"),
    ],
)
def test_what_is_no_gradient_for_each_operand(
    returned: str, says: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(file)
    wanted = "return grad_x, grad_weight, grad_bias"
    file.write_text(file.read_text().replace(wanted, f"return {returned}"))
    assert call("exercise", str(file)) == 1
    assert f"the backward raised ValueError: {says}" in capsys.readouterr().out
