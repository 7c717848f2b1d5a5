"""Random command lines: each ends in success or in one message, and loses no file."""

import contextlib
import importlib
import io
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, ListConfig, OmegaConf
from PIL import Image

from context_agg.cli import signals
from context_agg.cli.compose import compose_config
from context_agg.cli.groups import choices, groups
from context_agg.cli.hints import composed_keys
from context_agg.cli.keys import TRAINER_EXTRAS
from context_agg.cli.quiet import quiet
from context_agg.train import train

LIMIT = 60  # seconds for a command line that trains one step, or none
OFFLINE = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
"""Nobody listens there, so a data set that is not here is not downloaded."""

FRAME = re.compile(
    r"Error executing job with overrides: .*|Set the environment variable HYDRA_.*"
    r"|compiled   .*"  # the one line that a run may say of itself
)
LINES = 2  # a message has no more, without Hydra's frame and argparse's usage
MANY = 10


def _words(text: str) -> list[str]:
    return text.split()


VALUES = [
    *_words(r"""
null true -1 0 1 2 -0.0 0.5 1e-9 1e400 nan -inf 0x10 1_000 99999999999 18446744073709551616 abc
müller 'müller' 日本 '' "" [] [1] [0,-1] [[1],[2]] [nan] [a,b] [true] [null] {} {a:1} {a:{b:[1]}}
{_target_:nix} ${seed} ${nix} ${seed ${oc.env:NIX} ${oc.env:NIX,3} ${now:%Y} ${model} ${.} $ \ ' "
a=b a:b a,b 0,1 0,0 , 1, range(2) range(-1) range(1e9) choice(1,2) choice() glob(*) interval(0,1)
shuffle(1,2) tag(x,1) str(1) int(x) sort(2,1) extend_list(1) nix(1) ( ] } * ~ ~x @ % # ! | & ; ?
-m --help run photo.png foreign nix/nix identity normal manual broken same cpu cosine sgd basic
linear digits step [basic] [default,default] 16-mixed 64-true strict
"""),
    "",
    " ",
    "a b",
    "\n",
    "\t",
    "é" * 300,
    "x" * 5000,
    "[" * 200,
    "\udcff",
    "9" * 400,
]
LIKELY = {
    "bool": _words("true false True yes null 1"),
    "number": _words("1 2 3 1.0 0.3 0 1e-3 true null -1 0.999 1e3 2,3 range(2)"),
    "list": _words("[1] [1,1,1,1,1,1,1] [3,1,1,2,1,1,1] [context] [head] [] [[]] [0] [2.5] 1"),
    "word": _words("""null identity normal kaiming xavier same once valid auto manual manual_taps
        broken draft cpu 64-true bf16-mixed val/loss val/accuracy min max validation test run nix
        strict torch.optim.SGD torch.nn.Linear torch.nn.Identity builtins.dict os.getcwd auto,manual
        context_agg.networks.heads.LinearNet context_agg.data.digits.load_digits"""),
}
"""Values for keys whose default is of this kind; many are right."""

ENDLESS = {"1_000", "99999999999", "18446744073709551616", "9" * 400}  # for a number of epochs

HYDRA_KEYS = _words("""
hydra hydra.run.dir hydra.sweep.dir hydra.sweep.subdir hydra.job.chdir hydra.job.name
hydra.job.env_set.NIX hydra.job.nix hydra.mode hydra.output_subdir hydra.launcher hydra/launcher
hydra/sweeper hydra/job_logging hydra/help hydra.sweeper.params hydra.sweeper.max_batch_size
hydra.searchpath hydra.callbacks hydra.callbacks.sweep hydra.runtime.output_dir hydra.nix
""")

EXTRAS = (*TRAINER_EXTRAS, "fast_dev_run", "betas", "nesterov", "label_smoothing", "nix", "a.b")
PATH_KEYS = ("start_from", "resume", "hydra.run.dir", "hydra.sweep.dir", "data.root")

OPTIONS = _words("""
-m --multirun -r --run -i --info --info=defaults --info=nix -c --cfg --cfg=job --cfg=nix --resolve
-h --help --hydra-help --version -sc --shell-completion -cd --config-dir --config-dir=foreign -cp
--config-path -cn --config-name --config-name=check -p --package --experimental-rerun --out --out=x
--nix --nix=1 - -- --- -1 -mm
""")

PATHS = [
    *_words("""
run run/ run/metrics.json run/checkpoints foreign foreign/notes.txt empty photo.png text.png nix
nix/nix photo.png/x . new new/deep müller
"""),
    "",
    " ",
    "a\nb",
    "\udcff",
    "x" * 300,
]


@dataclass(frozen=True)
class CommandLine:
    """A command and its arguments."""

    command: str
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        line = shlex.join([self.command, *self.arguments])
        return line.encode("utf-8", "backslashreplace").decode()


def command_line(seed: int) -> CommandLine:
    """A random command line; one that is valid trains a single step."""
    generator = random.Random(seed)
    command = generator.choice(["train"] * 7 + ["check", "evaluate", "predict", "export", "report"])
    if command in ("train", "check"):
        count = generator.choice([1, 1, 1, 1, 2, 2, 3])
        arguments = [_setting(generator) for _ in range(count)]
        start = [] if command == "check" else ["debug=step"]
    else:
        arguments = generator.choices(PATHS[:1] * 15 + PATHS, k=generator.choice([0, 1, 2, 2, 3]))
        start = []
    options = generator.choices(OPTIONS, k=generator.choice([0, 0, 0, 0, 0, 1, 2]))
    return CommandLine(command, (*options, *start, *arguments))


def make_place(folder: Path) -> None:
    """Fills the folder that a command line is called in: a run, a user's own files, images."""
    quiet()
    train(compose_config("debug=step", "model.channels=2"), folder / "run")
    for name in ("foreign", "empty"):
        (folder / name).mkdir()
    (folder / "foreign" / "notes.txt").write_text("my notes\n")
    (folder / "text.png").write_text("no image\n")
    Image.new("L", (28, 28), 255).save(folder / "photo.png")


def rows(
    seeds: Iterable[int], folder: Path, *, as_processes: bool = False
) -> Iterator[dict[str, str]]:
    """Runs random command lines; yields their seed, themselves, their outcome and seconds.

    An outcome is "success", "refused" (one message, nothing written), "ended" (one message, after
    the work had begun), or what is wrong: it starts with "WRONG".

    Args:
        seeds: of the command lines.
        folder: a folder to work in.
        as_processes: whether each has a process of its own, as from a shell.
    """
    place, copy = folder / "place", folder / "copy"
    with contextlib.redirect_stdout(io.StringIO()):
        make_place(place)
    run = in_process_of_its_own if as_processes else in_this_process
    for seed in seeds:
        line = command_line(seed)
        shutil.copytree(place, copy)
        before = _contents(copy)
        start = time.perf_counter()
        code, stdout, stderr = run(line, copy)
        seconds = time.perf_counter() - start
        many = line.command == "predict" or {"-m", "--multirun"} & set(line.arguments)
        most = MANY if many else LINES  # a line for each file or run that failed
        most += "".join(line.arguments).count("\n")
        outcome = judge(code, stdout, stderr, before, _contents(copy), most)
        shutil.rmtree(copy)
        yield {
            "seed": str(seed),
            "command": str(line),
            "outcome": outcome,
            "seconds": f"{seconds:.1f}",
        }


def judge(
    code: int | None,
    stdout: str,
    stderr: str,
    before: dict[str, bytes],
    after: dict[str, bytes],
    most: int,
) -> str:
    """The outcome of a command line.

    Args:
        code: its exit code; None if it took too long.
        stdout: what it printed.
        stderr: its message.
        before: the files before it.
        after: the files after it.
        most: lines that its message may have.
    """
    lost = [name for name, content in before.items() if after.get(name) != content]
    message = [line for line in stderr.splitlines() if line and not FRAME.fullmatch(line)]
    if message and message[0].startswith("usage: "):
        message = message[-1:]
    said = " / ".join(message)
    if code is None:
        return "WRONG: it hangs"
    if "Traceback" in stderr:
        return f"WRONG: a stack trace: {said[-300:]}"
    if lost:
        return f"WRONG: {', '.join(lost)} lost"
    if code == 0:
        return f"WRONG: chatter: {said}" if message else "success"
    if not message and not stdout:
        return f"WRONG: silent, with exit code {code}"
    if len(message) > most:
        return f"WRONG: {len(message)} lines: {said}"
    if stdout:
        return "ended"
    if new := after.keys() - before.keys():
        return f"WRONG: left {', '.join(sorted(new))}"
    return "refused"


def in_process_of_its_own(line: CommandLine, folder: Path) -> tuple[int | None, str, str]:
    """Exit code (None after `LIMIT` seconds), output and messages of a command line."""
    try:
        result = subprocess.run(
            [sys.executable, "-m", f"context_agg.{line.command}", *line.arguments],
            cwd=folder,
            env={**os.environ, **OFFLINE},
            capture_output=True,
            timeout=LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, "", ""
    return result.returncode, result.stdout.decode(), result.stderr.decode()


def in_this_process(line: CommandLine, folder: Path) -> tuple[int | None, str, str]:
    """The same, without the seconds that it takes to start Python."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with _as_it_was(), contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        os.chdir(folder)
        os.environ |= OFFLINE
        sys.argv = [f"{line.command}.py", *line.arguments]
        try:
            with _time_limit():
                importlib.import_module(f"context_agg.{line.command}").main()
            code: int | None = 0
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
            if isinstance(exit_.code, str):
                print(exit_.code, file=sys.stderr)
        except _TooLong:
            code = None
        except BaseException:
            traceback.print_exc()
            code = 1
    return code, stdout.getvalue(), stderr.getvalue()


def _contents(folder: Path) -> dict[str, bytes]:
    """All files by name, and the names of the folders."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


class _TooLong(BaseException):
    """No code takes this for an error of its own."""


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    def stop(*arguments: object) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _as_it_was() -> Iterator[None]:
    """Puts back what a command changes in its process."""
    folder, environment, arguments = Path.cwd(), dict(os.environ), sys.argv
    handlers = {number: signal.getsignal(number) for number in signals.ENDING}
    try:
        with warnings.catch_warnings():
            yield
    finally:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = arguments
        GlobalHydra.instance().clear()
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _setting(generator: random.Random) -> str:
    keys = [key for key in composed_keys("train") if key != "compile"]  # it takes minutes
    key, value = generator.choice(keys), generator.choice(VALUES)
    while key == "trainer.max_epochs" and value in ENDLESS:
        value = generator.choice(VALUES)
    plus = generator.choice(["", "", "", "", "+", "++"])
    kind = generator.randrange(20)
    if kind == 0:
        return value
    if kind == 1:
        group, other = generator.choices(groups(), k=2)
        return f"{plus}{group}={generator.choice(choices(other))}"
    if kind == 2:
        return f"~{generator.choice([*keys, *groups()])}"
    if kind == 3:
        return f"{plus}{generator.choice(HYDRA_KEYS)}={value}"
    if kind == 4:
        owner = key.rpartition(".")[0] or "trainer"
        return f"{plus or '+'}{owner}.{generator.choice(EXTRAS)}={value}"
    if kind == 5:
        return f"{generator.choice(PATH_KEYS)}={generator.choice(PATHS)}"
    if kind == 6:
        place = generator.randrange(len(key))
        return f"{plus}{key[:place]}{key[place + 1 :]}={value}"
    if kind < 9:
        return f"{plus}{key}={value}"
    return f"{key}={generator.choice(LIKELY[_kind(key)])}"


@cache
def _defaults() -> DictConfig:
    return compose_config("debug=step")


def _kind(key: str) -> str:
    """What kind of value a key has by default."""
    value = OmegaConf.select(_defaults(), key)
    kinds = {bool: "bool", int: "number", float: "number", ListConfig: "list"}
    return kinds.get(type(value), "word")
