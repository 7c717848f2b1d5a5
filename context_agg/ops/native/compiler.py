"""Compiles the kernels for one shape of layer, once, and keeps the libraries in the user's cache.

A library is kept under a name made from all that it depends on. It takes that name when it is
complete, and carries its own checksum, so processes that compile at once do no harm, and a damaged
file is compiled again.
"""

import atexit
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).with_name("kernels.cpp")
COMPILERS = ("g++", "clang++", "c++")
FLAGS = (
    "-std=c++17",
    "-march=native",
    "-O2",
    "-ffp-contract=fast",  # a product and a sum are one instruction
    "-fPIC",
    "-shared",
    "-w",
)
GCC_FLAGS = (  # clang does not know them
    "-fno-tree-pre",  # with it and the next, GCC 12 moves loads out of loops into registers
    "-fno-gcse",  # that the sums need, and C = 8 takes 1.7 times as long
)
THREADED = "-fopenmp"
HOW_TO_GET = "install g++ or clang++ (Debian: `apt install g++`; macOS: `xcode-select --install`)"


class Shape(NamedTuple):
    """What a library is compiled for: input maps, output maps, kernel side, and C's number type."""

    in_channels: int
    out_channels: int
    side: int
    scalar: str

    def __str__(self) -> str:
        maps = f"{self.in_channels} to {self.out_channels} maps"
        return f"{self.side}x{self.side} from {maps} ({self.scalar})"


@cache
def compiler() -> str | None:
    """The path of the first C++ compiler that is installed; None if there is none."""
    return next(filter(None, map(shutil.which, COMPILERS)), None)


def libraries(shapes: Iterable[Shape]) -> dict[Shape, Path]:
    """Compiles what the cache lacks, side by side; says in a line what, and how long it took.

    Raises:
        OSError: if there is no compiler, or if it fails.
    """
    folder = cache_folder()
    files = {shape: folder / f"{_key(shape)}.so" for shape in shapes}
    missing = [shape for shape, file in files.items() if not _is_good(file)]
    if missing:
        start = time.perf_counter()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            unthreaded = list(pool.map(lambda shape: _compile(shape, files[shape]), missing))
        note = ", without OpenMP: on one thread" if any(unthreaded) else ""
        took = f"{time.perf_counter() - start:.1f} s{note}"
        print(f"compiled   {', '.join(map(str, missing))} in {took}", file=sys.stderr)
    return files


@cache
def cache_folder() -> Path:
    """The user's private folder for libraries; where that cannot be, one for this process alone."""
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(home) / "context_agg"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_private(folder)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        folder = Path(tempfile.mkdtemp(prefix="context_agg-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        print(f"compiling into {folder}, for this process alone: {error}", file=sys.stderr)
        return folder


def _check_private(folder: Path) -> None:
    """Others must not be able to put a library there, which would run as the user."""
    status = folder.stat()
    if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o022):
        raise PermissionError(f"{folder} belongs to another user, or others can write to it")


def _key(shape: Shape) -> str:
    """Names a shape and all else that its library depends on."""
    return "-".join(map(str, (*shape, fingerprint())))


def fingerprint() -> str:
    """A short name of the source, the flags, the compiler and the processor."""
    parts = (SOURCE.read_text(), *_flags(), THREADED, _version(), _processor())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _flags() -> tuple[str, ...]:
    """Those for the compiler at hand; on macOS clang also answers to the name g++."""
    return FLAGS if "clang" in _version() else (*FLAGS, *GCC_FLAGS)


@cache
def _version() -> str:
    path = compiler()
    if path is None:
        raise OSError(f"there is no C++ compiler: {HOW_TO_GET}, or use backprop=manual_torch")
    found = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return f"{path} {found.stdout}"


@cache
def _processor() -> str:
    """The machine's instruction set, for which -march=native compiles."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    kept = ("vendor_id", "cpu family", "model", "flags", "Features", "CPU implementer", "CPU part")
    return "\n".join(line for line in lines if line.partition("\t")[0].rstrip(" :") in kept)


def _compile(shape: Shape, file: Path) -> bool:
    """Compiles a library to its file; returns whether it had to do without OpenMP."""
    in_channels, out_channels, side, scalar = shape
    macros = [f"-DC={in_channels}", f"-DK={out_channels}", f"-DSIDE={side}", f"-DT={scalar}"]
    path = compiler()
    assert path is not None  # _key has asked for its version
    with tempfile.TemporaryDirectory(dir=file.parent) as temporary:
        made = Path(temporary) / "library"
        for flags in ((*_flags(), THREADED), _flags()):
            command = [path, *flags, *macros, str(SOURCE), "-o", str(made)]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode == 0:
                with made.open("ab") as library:
                    library.write(hashlib.sha256(made.read_bytes()).digest())
                os.replace(made, file)
                return THREADED not in flags
    raise OSError(
        f"{path} cannot compile the kernels; repair it, or use backprop=manual_torch. It says: "
        f"{result.stderr.strip()[-500:]}"
    )


def _is_good(file: Path) -> bool:
    """Whether a library is there, and as it was written: it ends in the digest of the rest."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return False
    return hashlib.sha256(content[:-32]).digest() == content[-32:]
