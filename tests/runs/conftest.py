"""Settings for the tests of runs."""

import pytest
from tensorboard.summary.writer import event_file_writer


@pytest.fixture(autouse=True)
def _order_of_event_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts files from 10: TensorBoard reads those of the same second in the order of names."""
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(10))
