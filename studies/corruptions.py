"""Damages the directories of runs at random, and calls the commands on what is left.

A command must succeed or end in one message: no stack trace, no hang, and no file lost or changed
that it is not meant to write.
"""

import contextlib
import hashlib
import io
import json
import os
import pickle
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import yaml
from PIL import Image

from context_agg import evaluate, export, predict, report, train
from context_agg.cli.compose import compose_config
from context_agg.cli.errors import UserError
from context_agg.cli.quiet import quiet
from context_agg.runs import checkpoints
from context_agg.runs.directory import (
    BEST,
    DATA_SPEC,
    LAST,
    MARK,
    METRICS,
    PREVIOUS,
    SETTINGS,
    WEIGHTS,
)
from context_agg.runs.table import FILES
from context_agg.training.learner import Learner
from studies.kills import SMALL

LIMIT = 60  # seconds for a command
CUT_OFF = 26  # the step of the learner in which a run is cut off: in its third epoch
ROOT = Path(__file__).parents[1]
DENSE = ROOT / "models" / "scenes_front_end"
RECORDS = (SETTINGS, DATA_SPEC, METRICS)
WRITTEN = {SETTINGS, DATA_SPEC, METRICS, MARK, "curves.png", "hparams.yaml"}
"""What a run that goes on may write, beside checkpoints and new event files."""

Row = dict[str, str]
"""A trial: `COLUMNS` and what is in them."""

COLUMNS = ("seed", "command", "damage", "end", "seconds", "says")


class _CutOffError(BaseException):
    pass


class _HangsError(BaseException):
    pass


class Harmful:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("harm",)


@dataclass(frozen=True)
class Runs:
    """Undamaged directories to copy from: small runs, whole and cut off, and others."""

    whole: Path
    cut: Path
    exported: Path
    other: Path

    @classmethod
    def train(cls, folder: Path) -> "Runs":
        """Trains them into a folder."""
        runs = cls(*(folder / name for name in ("whole", "cut", "exported", "other")))
        train.train(compose_config(*SMALL), runs.whole)
        train.train(compose_config(*SMALL, "model.channels=3", "seed=1"), runs.other)
        export.export(runs.whole, runs.exported)
        original, left = Learner.training_step, CUT_OFF

        def step(learner: Learner, batch: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise _CutOffError
            return original(learner, batch)

        with patch.object(Learner, "training_step", step), contextlib.suppress(_CutOffError):
            train.train(compose_config(*SMALL), runs.cut)
        return runs


# Damages: each changes a run's directory, and says what it has done.

Damage = Callable[[random.Random, Path, Runs], str]


def _files(run_dir: Path) -> list[Path]:
    return sorted(file for file in run_dir.rglob("*") if file.is_file() and file.name != MARK)


def _pick(generator: random.Random, run_dir: Path) -> Path:
    """A file of the run: as often one of those that are read first as any."""
    first = [run_dir / name for name in (*RECORDS, BEST, LAST, WEIGHTS)]
    present = [file for file in first if file.is_file()]
    return generator.choice(generator.choice([present, _files(run_dir)]))


def _clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sign(file: Path) -> None:
    """Gives a changed checkpoint the right checksum, as somebody who means harm would."""
    if file.suffix == ".ckpt" and file.is_file():
        checkpoints.checksum(file).write_bytes(checkpoints.digest(file.read_bytes()))


def truncate(generator: random.Random, run_dir: Path, runs: Runs) -> str:
    """Cuts a file short."""
    file = _pick(generator, run_dir)
    size = int(file.stat().st_size * generator.choice([0, generator.random()]))
    os.truncate(file, size)
    return f"{file.name} truncated to {size}"


def flip(generator: random.Random, run_dir: Path, runs: Runs) -> str:
    """Flips some bits, with or without a new checksum."""
    file = _pick(generator, run_dir)
    content = bytearray(file.read_bytes() or b"\0")
    count = generator.choice([1, 8, 100])
    for _ in range(count):
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    file.write_bytes(content)
    if signed := generator.random() < 0.5:
        _sign(file)
    return f"{count} bits of {file.name} flipped{' and signed' * signed}"


def noise(generator: random.Random, run_dir: Path, runs: Runs) -> str:
    """Writes random bytes, or a text, in place of a file."""
    file = _pick(generator, run_dir)
    kinds = (generator.randbytes(generator.choice([1, 100, 50_000])), b"a text\n", b"PK\3\4" * 9)
    kind = generator.randrange(len(kinds))
    file.write_bytes(kinds[kind])
    _sign(file)
    return f"{file.name} is {('random bytes', 'a text', 'half an archive')[kind]}"


def delete(generator: random.Random, run_dir: Path, runs: Runs) -> str:
    """Deletes a file, or a folder of the run."""
    path = generator.choice([_pick(generator, run_dir), run_dir / "checkpoints"])
    _clear(path)
    return f"{path.name} deleted"


def replace_kind(generator: random.Random, run_dir: Path, runs: Runs) -> str:
    """Puts a folder, a link, a pipe or a huge file where a file was."""
    file = _pick(generator, run_dir)
    kind = generator.choice(["a folder", "a link", "a pipe", "huge", "without permissions"])
    if kind == "without permissions":
        file.chmod(0)
        return f"{file.name} {kind}"
    _clear(file)
    if kind == "a folder":
        file.mkdir()
    elif kind == "a link":
        targets = ["nowhere", file.name, "/dev/zero", "/dev/null", str(runs.other / SETTINGS), "."]
        target = generator.choice([*targets, str(_pick(generator, run_dir).absolute())])
        file.symlink_to(target)
        kind = f"a link to {Path(target).name or target}"
    elif kind == "a pipe":
        os.mkfifo(file)
    else:
        file.touch()
        os.truncate(file, 40_000_000_000)
    return f"{file.name} is {kind}"


def swap(generator: random.Random, run_dir: Path, runs: Runs) -> str:
    """Exchanges two files of the run."""
    one, two = _pick(generator, run_dir), _pick(generator, run_dir)
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    return f"{one.name} and {two.name} exchanged"


def other_run(generator: random.Random, run_dir: Path, runs: Runs) -> str:
    """Takes a file from another run, or from one on dense data."""
    name = generator.choice([*RECORDS, BEST, LAST, PREVIOUS])
    source = generator.choice([runs.other, runs.whole, DENSE])
    if not (source / name).is_file():
        source, name = DENSE, WEIGHTS
    _clear(run_dir / name)
    (run_dir / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / name, run_dir / name)
    _sign(run_dir / name)
    return f"{Path(name).name} of {source.name}"


VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    3,
    10**9,
    10**30,
    0.5,
    float("nan"),
    float("inf"),
    "",
    "word",
    "${seed}",
    "${oc.env:HOME}",
    "x" * 10_000,
    [],
    [1, 2],
    [[]],
    {},
    {"a": 1},
    {"_target_": "os.system"},
    {"_target_": "torch.optim.Adam"},
)
ENDLESS = ("max_epochs",)  # keys of settings: a run may be long, which is no damage


def value(generator: random.Random, run_dir: Path, runs: Runs) -> str:
    """Changes, adds or removes a value in a file of settings or scores."""
    name = generator.choice([name for name in RECORDS if (run_dir / name).is_file()] or [SETTINGS])
    file = run_dir / name
    if not file.is_file():
        return "nothing"
    load, dump = (yaml.safe_load, yaml.safe_dump) if name == SETTINGS else (json.loads, json.dumps)
    content = load(file.read_text())
    place, key = generator.choice([(content, ""), *_places(content)])
    new = generator.choice(VALUES)
    if key == "" and isinstance(content, dict) and generator.random() < 0.5:
        place, key = content, "extra"
    what = f"{key or 'all'} of {file.name}"
    if key == "":
        content = new
    elif generator.random() < 0.2 and isinstance(place, dict):
        place.pop(key, None)
        what += " without"
    elif key not in ENDLESS:
        place[key] = new
    file.write_text(dump(content))
    return f"{what}: {str(new)[:30]}"


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, child in items:
        yield node, key
        if isinstance(child, dict | list):
            yield from _places(child)


def bomb(generator: random.Random, run_dir: Path, runs: Runs) -> str:
    """Writes a small file that would grow when it is read."""
    aliases = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
    doubled = "".join(f"a{i}: ${{a{i - 1}}}${{a{i - 1}}}\n" for i in range(1, 40))
    bombs = {
        "anchors": "a0: &a0 [1]\n" + aliases,
        "interpolations": "a0: x\n" + doubled,
        "a circle": "seed: ${backprop}\nbackprop: ${seed}\n",
        "nesting": "[" * 20_000,
        "nested groups": "{a: " * 5_000,
        "a long number": "seed: 1" + "0" * 5_000,
        "a byte that is not UTF-8": "seed: 0 # \xff",
    }
    kind = generator.choice(list(bombs))
    name = generator.choice(RECORDS)
    _clear(run_dir / name)
    (run_dir / name).parent.mkdir(exist_ok=True)
    (run_dir / name).write_bytes(bombs[kind].encode("latin-1"))
    return f"{Path(name).name} holds {kind}"


def fake(generator: random.Random, run_dir: Path, runs: Runs) -> str:
    """Writes a checkpoint that holds something else, with the right checksum."""
    name = generator.choice([BEST, LAST])
    file = run_dir / name
    good = torch.load(runs.whole / name, weights_only=True)
    state = good["state_dict"]
    weight = next(iter(state))
    kind = generator.choice(sorted(_FAKES))
    content = _FAKES[kind](good, state, weight)
    _clear(file)
    file.parent.mkdir(exist_ok=True)
    if kind == "a plain pickle":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file)
    _sign(file)
    return f"{file.name} holds {kind}"


_FAKES: Mapping[str, Callable[[dict[str, Any], dict[str, Any], str], Any]] = {
    "a list": lambda good, state, weight: [1, 2],
    "a tensor": lambda good, state, weight: torch.zeros(3),
    "strings": lambda good, state, weight: good | {"state_dict": dict.fromkeys(state, "x")},
    "nothing": lambda good, state, weight: good | {"state_dict": {}},
    "no weights": lambda good, state, weight: {"state_dict": None},
    "weights only": lambda good, state, weight: {"state_dict": state},
    "numbers for names": lambda good, state, weight: good | {"state_dict": {1: torch.zeros(1)}},
    "NaN": lambda good, state, weight: (
        good | {"state_dict": state | {weight: state[weight] * torch.nan}}
    ),
    "another shape": lambda good, state, weight: (
        good | {"state_dict": state | {weight: torch.zeros(1, 2)}}
    ),
    "integers": lambda good, state, weight: (
        good | {"state_dict": {name: value.long() for name, value in state.items()}}
    ),
    "a sparse tensor": lambda good, state, weight: (
        good | {"state_dict": state | {weight: torch.zeros(2, 2).to_sparse()}}
    ),
    "an expanded tensor": lambda good, state, weight: (
        good | {"state_dict": state | {weight: torch.zeros(1).expand(10**11)}}
    ),
    "half precision": lambda good, state, weight: (
        good | {"state_dict": {name: value.half() for name, value in state.items()}}
    ),
    "code": lambda good, state, weight: good | {"more": Harmful()},
    "a plain pickle": lambda good, state, weight: {"state_dict": Harmful()},
    "no loops": lambda good, state, weight: good | {"loops": {}},
    "no optimizer": lambda good, state, weight: good | {"optimizer_states": []},
    "another optimizer": lambda good, state, weight: good | {"optimizer_states": [{"state": {}}]},
    "no callbacks": lambda good, state, weight: good | {"callbacks": {}},
    "callbacks that are none": lambda good, state, weight: (
        good | {"callbacks": dict.fromkeys(good["callbacks"], 1)}
    ),
    "no random state": lambda good, state, weight: (
        good
        | {
            "callbacks": good["callbacks"]
            | {"LastCheckpoint": good["callbacks"]["LastCheckpoint"] | {"random": {}}}
        }
    ),
}

DAMAGES: tuple[Damage, ...] = (
    truncate,
    flip,
    noise,
    delete,
    replace_kind,
    swap,
    other_run,
    value,
    value,
    value,
    bomb,
    fake,
    fake,
)


NOTHING_LEFT = (OSError, ValueError, TypeError, IndexError, RecursionError, yaml.YAMLError)
"""What a damage can fail with where another one has been."""


def damage(seed: int, run_dir: Path, runs: Runs) -> str:
    """Damages a directory once or twice; says how."""
    generator = random.Random(seed)
    done = []
    for _ in range(generator.choice([1, 1, 1, 2])):
        with contextlib.suppress(*NOTHING_LEFT):
            done.append(generator.choice(DAMAGES)(generator, run_dir, runs))
    return "; ".join(done)


# Commands

SOURCES = {
    "evaluate": "whole",
    "predict": "whole",
    "export": "whole",
    "report": "whole",
    "resume": "cut",
    "resume finished": "whole",
    "predict exported": "exported",
    "train again": "cut",
}
"""Every command that reads a run, and which run it is called on."""


def corrupt_and_call(seeds: Iterable[int], *, processes: bool = False) -> list[Row]:
    """Calls a command on a damaged run for every seed.

    Args:
        seeds: each is a trial: a command, a run, and one or two damages.
        processes: whether the commands are processes of their own.

    Returns:
        A row for each: how it ended. That is "success", "one message", "stack trace", "hang", or
        "lost or changed" with the names of the files.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name, _silent():
        folder = Path(name)
        runs = Runs.train(folder / "runs")
        picture = folder / "image.png"
        Image.fromarray(np.eye(28, dtype=np.uint8) * 255).save(picture)
        rows = [_trial(seed, folder, runs, picture, processes) for seed in seeds]
    torch.set_num_threads(threads)
    return rows


def _trial(seed: int, folder: Path, runs: Runs, picture: Path, processes: bool) -> Row:
    command = list(SOURCES)[seed % len(SOURCES)]
    if processes and command == "train again":  # the same as resume, as a process
        command = "resume"
    place = folder / f"trial-{seed}"
    run_dir = place / "run"
    shutil.copytree(getattr(runs, SOURCES[command]), run_dir)
    done = damage(seed, run_dir, runs)
    if command == "report":
        shutil.copytree(runs.whole, place / "good")
    arguments = {
        "predict": [str(run_dir), str(picture)],
        "export": [str(run_dir), str(place / "out")],
        "report": [str(place)],
        "train": [f"resume={run_dir}"],
    }
    name = {"predict exported": "predict", "train again": "train"}.get(command, command)
    name = "train" if name.startswith("resume") else name
    given = arguments.get(name, [str(run_dir)])
    before = _state(place)
    start = time.perf_counter()
    if processes:
        end, says = _call_process(name, given, place)
    else:
        end, says = _call(command, name, given, run_dir)
    seconds = time.perf_counter() - start
    if end in ("success", "one message") and (
        wrong := list(_wrong(command, end, before, _state(place), place))
    ):
        end, says = "lost or changed", f"{', '.join(wrong)}; {says}"
    for path in place.rglob("*"):
        if not path.is_symlink():
            path.chmod(stat.S_IRWXU)
    shutil.rmtree(place)
    content = (str(seed), command, done, end, f"{seconds:.1f}", says.replace(str(folder), "..."))
    return dict(zip(COLUMNS, content, strict=True))


def _call(command: str, name: str, given: list[str], run_dir: Path) -> tuple[str, str]:
    """Calls a command in this process."""

    def hang(number: int, frame: object) -> None:
        raise _HangsError

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(LIMIT)
    try:
        if command == "train again":
            train.train(compose_config(*SMALL), run_dir)
        elif name == "train":
            train.go_on(run_dir, [])
        else:
            modules = {"evaluate": evaluate, "export": export, "predict": predict}
            modules.get(name, report).main(given)
    except _HangsError:
        return "hang", ""
    except SystemExit as exit_:
        return ("one message", str(exit_.code)) if exit_.code else ("success", "")
    except UserError as error:
        return "one message", str(error)
    except BaseException as error:
        return "stack trace", f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return "success", ""


def _call_process(name: str, given: list[str], place: Path) -> tuple[str, str]:
    """Calls a command as a process."""
    try:
        result = subprocess.run(
            [sys.executable, "-m", f"context_agg.{name}", *given],
            cwd=place,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "hang", ""
    if "Traceback" in result.stderr:
        return "stack trace", result.stderr.strip().splitlines()[-1]
    if result.returncode == 0:
        return "success", ""
    return "one message", result.stderr.strip()


def _state(place: Path) -> dict[str, tuple[object, ...]]:
    """Every file below a folder, by name: its kind, and what is in it."""
    state: dict[str, tuple[object, ...]] = {}
    for path in place.rglob("*"):
        info = path.lstat()
        content: object = info.st_size
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file() and info.st_size < 10_000_000:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        if not stat.S_ISDIR(info.st_mode):
            state[str(path.relative_to(place))] = (stat.S_IFMT(info.st_mode), content)
    return state


def _wrong(
    command: str,
    end: str,
    before: Mapping[str, object],
    after: Mapping[str, object],
    place: Path,
) -> Iterator[str]:
    """What is lost, changed or left over that the command is not meant to write."""
    goes_on = command.startswith("resume") or command == "train again"
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) == after.get(name) or name == f"run/{MARK}":
            continue
        inside = name.removeprefix("run/")
        mine = goes_on and end == "success" and inside != name and name in after
        written = inside in WRITTEN or inside.startswith("checkpoints/")
        if mine and (written or (name not in before and "tfevents" in name)):
            continue
        if command == "report" and name in FILES:
            continue
        if command == "export" and end == "success" and name.startswith("out/"):
            continue
        yield f"{'lost' if name not in after else 'changed' if name in before else 'new'} {name}"
    if command == "report":
        rows = place / "runs.csv"
        if not (rows.is_file() and "good" in rows.read_text()):
            yield "no row of the good run"


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    quiet()
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield
