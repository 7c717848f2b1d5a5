"""The cases of the table of checkers are what they are called."""

import pytest

from studies.checkers import CASES, judged_by_check_op


@pytest.mark.parametrize("name", CASES)
def test_check_op_calls_right_what_is_right(name: str) -> None:
    assert (judged_by_check_op(CASES[name]) == "right") == CASES[name].right
