"""Compiling: where libraries go, and what happens when something is missing or damaged."""

import multiprocessing
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from context_agg.ops.native import compiler, kernels
from context_agg.ops.native.compiler import Shape

TINY = Shape(1, 1, 1, "float")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of its own, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiler.cache_folder.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    compiler.cache_folder.cache_clear()


def test_a_library_is_compiled_once_into_a_private_folder(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = compiler.libraries([TINY])[TINY]
    assert file.parent == home / "context_agg"
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("compiled   1x1 from 1 to 1 maps (float) in ")
    time = file.stat().st_mtime_ns
    assert compiler.libraries([TINY]) == {TINY: file}
    assert file.stat().st_mtime_ns == time
    assert capfd.readouterr().err == ""
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("damage", [b"", b"no library"])
def test_a_damaged_library_is_compiled_again(home: Path, damage: bytes) -> None:
    file = compiler.libraries([TINY])[TINY]
    good = file.read_bytes()
    file.write_bytes(damage or good[: len(good) // 2])
    compiler.libraries([TINY])
    assert file.read_bytes() == good


def _compile(_: int) -> bytes:
    return compiler.libraries([TINY])[TINY].read_bytes()


def test_processes_that_compile_at_once_do_no_harm(home: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        first, second = pool.map(_compile, range(2), chunksize=1)
    assert first == second


def test_where_nothing_can_be_written_a_folder_of_the_process_serves(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (home / "context_agg").write_text("a file where the folder should be")
    folder = compiler.cache_folder()
    assert home not in folder.parents
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"compiling into {folder}, for this process alone: ")


def test_a_folder_that_others_can_write_to_is_not_trusted(home: Path) -> None:
    folder = home / "context_agg"
    folder.mkdir()
    folder.chmod(0o777)
    assert compiler.cache_folder() != folder


def test_without_a_compiler_nothing_is_native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    compiler.compiler.cache_clear()
    try:
        assert not kernels.available()
    finally:
        monkeypatch.undo()
        compiler.compiler.cache_clear()
    assert kernels.available()


def test_a_compiler_without_openmp_still_compiles(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compiler, "THREADED", "-fno-such-option")
    compiler.libraries([TINY])
    assert "without OpenMP: on one thread" in capfd.readouterr().err


def test_a_compiler_that_fails_is_quoted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "FLAGS", (*compiler.FLAGS, "-fno-such-option"))
    with pytest.raises(OSError, match=r"cannot compile the kernels.*manual_torch.*no-such-option"):
        compiler.libraries([TINY])
    assert not list((home / "context_agg").iterdir())


@pytest.mark.parametrize("name", compiler.COMPILERS)
def test_every_compiler_that_is_there_serves(
    name: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "COMPILERS", (name,))
    compiler.compiler.cache_clear()
    compiler._version.cache_clear()
    try:
        if compiler.compiler() is None:
            pytest.skip(f"{name} is not there")
        assert os.path.getsize(compiler.libraries([TINY])[TINY]) > 0
    finally:
        monkeypatch.undo()
        compiler.compiler.cache_clear()
        compiler._version.cache_clear()
