"""No kill, full disk or flipped bit costs a good checkpoint."""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import torch

from context_agg.runs import atomic, checkpoints
from context_agg.runs.checkpoint_io import SafeCheckpointIO
from context_agg.runs.checkpoints import newest, read


def content(number: int) -> dict[str, object]:
    return {"state_dict": {"weight": torch.full((50,), float(number))}, "number": number}


def save(run_dir: Path, number: int, name: str = "last") -> Path:
    file = run_dir / "checkpoints" / f"{name}.ckpt"
    SafeCheckpointIO().save_checkpoint(content(number), file)
    return file


def number(run_dir: Path) -> object:
    found = newest(run_dir)
    assert found is not None
    return found[1]["number"]


def names(run_dir: Path) -> set[str]:
    return {file.name for file in (run_dir / "checkpoints").iterdir()}


def test_the_last_two_are_kept_with_their_checksums(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    for count in (1, 2, 3):
        file = save(tmp_path, count)
    save(tmp_path, 7, "best")
    assert number(tmp_path) == 3
    assert read(file.with_name("previous.ckpt"))["number"] == 2
    assert read(file.with_name("best.ckpt"))["number"] == 7
    stems = {"last", "previous", "best"}
    assert names(tmp_path) == {f"{stem}.ckpt{end}" for stem in stems for end in ("", ".sha256")}
    for stem in stems:
        written = file.with_name(f"{stem}.ckpt")
        recorded = file.with_name(f"{stem}.ckpt.sha256").read_text()
        assert recorded == hashlib.sha256(written.read_bytes()).hexdigest()


def test_a_removed_one_goes_with_its_checksum_and_leaves_the_others(tmp_path: Path) -> None:
    """Lightning's ModelCheckpoint, if a user adds it, removes the worse ones."""
    kept, removed = save(tmp_path, 1), save(tmp_path, 2, "epoch=0")
    for _ in range(2):  # what is gone already is no mistake
        SafeCheckpointIO().remove_checkpoint(removed)
    assert names(tmp_path) == {"last.ckpt", "last.ckpt.sha256"}
    assert read(kept)["number"] == 1


@pytest.mark.parametrize("share", [i / 20 for i in range(20)])
def test_a_truncated_one_is_noticed_and_the_one_before_it_used(
    share: float, tmp_path: Path
) -> None:
    save(tmp_path, 1)
    file = save(tmp_path, 2)
    os.truncate(file, int(share * file.stat().st_size))
    with pytest.warns(UserWarning, match=r"last.ckpt is damaged.*; going on from the one before"):
        assert number(tmp_path) == 1


@pytest.mark.parametrize("share", [i / 20 for i in range(20)])
@pytest.mark.parametrize("end", ["", ".sha256"])
def test_so_is_a_flipped_bit_in_it_or_its_checksum(share: float, end: str, tmp_path: Path) -> None:
    save(tmp_path, 1)
    file = save(tmp_path, 2)
    file = file.with_name(file.name + end)
    data = bytearray(file.read_bytes())
    data[int(share * len(data))] ^= 1 << int(share * 8)
    file.write_bytes(data)
    with pytest.warns(UserWarning, match="is damaged"):
        assert number(tmp_path) == 1


def test_none_good_is_one_error_and_nothing_is_touched(tmp_path: Path) -> None:
    save(tmp_path, 1)
    file = save(tmp_path, 2)
    for name in ("last.ckpt", "previous.ckpt"):
        file.with_name(name).write_text("not a checkpoint")
    before = {path: path.read_bytes() for path in file.parent.iterdir()}
    with pytest.raises(ValueError, match=r"last.ckpt is damaged.*previous.ckpt is damaged.*delete"):
        newest(tmp_path)
    assert {path: path.read_bytes() for path in file.parent.iterdir()} == before


@pytest.mark.parametrize("kill_at", range(8))
def test_a_kill_at_any_step_of_a_write_leaves_a_good_one(
    kill_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a kill would, the write ends before the kill_at-th change to the folder."""
    save(tmp_path, 1)
    save(tmp_path, 2)
    left = kill_at

    class Killed(BaseException):
        pass

    def counted(name: str) -> None:
        original = getattr(os, name)

        def change(*args: object) -> object:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            return original(*args)

        monkeypatch.setattr(os, name, change)

    counted("replace")
    counted("fsync")
    try:
        save(tmp_path, 3)
    except Killed:
        pass
    else:
        assert kill_at == 7  # two files and a folder synced, four renames
    monkeypatch.undo()
    assert number(tmp_path) in ((2, 3) if kill_at < 7 else (3,))
    save(tmp_path, 4)  # and the next write is as good as any
    assert number(tmp_path) == 4
    assert not [name for name in names(tmp_path) if name.endswith(".part")]


@pytest.mark.parametrize("first", range(6))
@pytest.mark.parametrize("second", range(6))
def test_two_kills_in_writes_of_the_best_leave_a_good_one(
    first: int, second: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    file = save(tmp_path, 1, "best")
    save(tmp_path, 1)  # its checksum is not that of the best
    for count, kill_at in ((2, first), (3, second)):
        left = kill_at

        def change(original: Callable[..., object], *operands: object) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return original(*operands)

        with monkeypatch.context() as patch:
            for name in ("replace", "fsync"):
                patch.setattr(os, name, partial(change, getattr(os, name)))
            with suppress(Killed):
                save(tmp_path, count, "best")
        assert read(file)["number"] in (1, 2, 3)
    save(tmp_path, 4, "best")
    assert read(file)["number"] == 4


def test_one_that_was_copied_without_its_checksum_is_read_but_not_gone_on_from(
    tmp_path: Path,
) -> None:
    save(tmp_path, 1)
    file = save(tmp_path, 1, "best")
    for path in file.parent.glob("*.sha256"):
        path.unlink()
    assert read(file)["number"] == 1
    with pytest.raises(ValueError, match=r"last.ckpt is damaged: there is no last.ckpt.sha256"):
        newest(tmp_path)


def test_the_checksum_of_another_file_is_not_that_of_the_best(tmp_path: Path) -> None:
    last = save(tmp_path, 1)
    best = save(tmp_path, 2, "best")
    best.write_bytes(last.read_bytes())
    with pytest.raises(ValueError, match=r"best.ckpt is damaged: it does not have the checksum"):
        read(best)


def test_a_damaged_one_does_not_take_the_place_of_the_good_one(tmp_path: Path) -> None:
    save(tmp_path, 1)
    file = save(tmp_path, 2)
    os.truncate(file, 100)
    save(tmp_path, 3)
    assert number(tmp_path) == 3
    os.truncate(file, 100)
    with pytest.warns(UserWarning, match="going on from the one before"):
        assert number(tmp_path) == 1


def test_a_full_disk_leaves_the_checkpoints_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1)
    file = save(tmp_path, 2)
    before = {path: path.read_bytes() for path in file.parent.iterdir()}

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, 3)
    with pytest.raises(OSError, match="No space left"):
        atomic.write(tmp_path / "metrics.json", b"{}")
    assert {path: path.read_bytes() for path in file.parent.iterdir()} == before
    assert not (tmp_path / "metrics.json").exists()


class Harmful:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("harm",)


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ({"state_dict": {}, "more": Harmful()}, "more than tensors and plain values"),
        ([1, 2], "no state_dict"),
        ({"state_dict": [1]}, "no state_dict"),
    ],
)
def test_what_is_not_a_checkpoint(
    saved: object, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "last.ckpt"
    torch.save(saved, file)
    checkpoints.checksum(file).write_bytes(checkpoints.digest(file.read_bytes()))
    with pytest.raises(ValueError, match=message) as raised:
        read(file)
    assert "weights_only" not in str(raised.value)
    assert not Path("harm").exists()
