"""Damaged directories of runs: a command succeeds, or ends in one message."""

import pytest

from studies.corruptions import LIMIT, corrupt_and_call

GOOD = {"success", "one message"}


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "processes"), [(range(60), False), (range(60, 63), True)])
def test_every_command_survives_a_damaged_run(seeds: range, processes: bool) -> None:
    rows = corrupt_and_call(seeds, processes=processes)
    assert len(rows) == len(seeds)
    assert [row for row in rows if row["end"] not in GOOD] == []
    assert {row["end"] for row in rows} == GOOD or processes  # neither all spared nor all ruined
    assert max(float(row["seconds"]) for row in rows) < LIMIT
