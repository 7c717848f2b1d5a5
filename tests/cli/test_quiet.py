"""No library prints what does not concern the user."""

import os
import subprocess
import sys
from pathlib import Path

ASK = """
from context_agg.cli.quiet import quiet_tensorboard
quiet_tensorboard()
from tensorboard.compat import tf
print(tf.io.gfile.__name__)
"""


def test_a_tensorflow_that_happens_to_be_installed_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('it was')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [sys.executable, "-c", ASK],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stderr == ""
    assert "tensorflow_stub" in result.stdout
