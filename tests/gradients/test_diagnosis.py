"""The checker names the mistake, whether or not it has a reference."""

import re

import pytest

from context_agg.gradients import check_op
from tests.gradients.wrong_functions import WRONG, Wrong


@pytest.mark.parametrize("beside", ["reference", "finite differences"])
@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.function.__name__)
def test_a_slip_is_named(wrong: Wrong, beside: str) -> None:
    reference = wrong.reference if beside == "reference" else None
    report = check_op(wrong.function, wrong.inputs, reference)
    found = {t.name.removeprefix("grad_"): t.diagnosis for t in report.tensors if not t.exact}
    assert found.keys() == wrong.says.keys(), report
    for name, words in wrong.says.items():
        assert re.search(words, found[name]), found[name]
    assert not report.right
