"""A terminal for tests: a pseudo-terminal of a given width, and what a person sees on it."""

import fcntl
import os
import pty
import struct
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


class Terminal:
    """Collects what is written to `stream`, whose `isatty()` is true."""

    def __init__(self, stream: TextIO, width: int) -> None:
        self.stream = stream
        self.width = width
        self.output = ""

    def screen(self) -> list[str]:
        """The lines that stay, as a terminal shows them: a long line goes on in the next."""
        rows, row, column = [""], 0, 0
        for character in self.output.replace("\x1b[K", ""):
            if character == "\r":
                column = 0
            elif character == "\n":
                row, column = row + 1, column
                rows += [""] * (row + 1 - len(rows))
            else:
                assert character.isprintable(), repr(character)
                if column == self.width:
                    row, column = row + 1, 0
                    rows += [""] * (row + 1 - len(rows))
                padded = rows[row].ljust(column)
                rows[row] = padded[:column] + character + padded[column + 1 :]
                column += 1
        return [text.rstrip() for text in rows if text.strip()]

    def bars(self) -> list[str]:
        """Every state of the progress bar, as it was written."""
        return [part for part in self.output.split("\r") if part.startswith("training:")]


@contextmanager
def terminal(width: int = 100) -> Iterator[Terminal]:
    """Opens one; what was written is complete when it ends."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    with Path(os.ttyname(slave)).open("w") as stream:
        os.close(slave)
        screen, parts = Terminal(stream, width), []

        def read() -> None:
            while part := _read(master):
                parts.append(part)

        reader = threading.Thread(target=read)
        reader.start()
        yield screen
    reader.join()
    os.close(master)
    screen.output = b"".join(parts).decode()


def _read(master: int) -> bytes:
    try:
        return os.read(master, 1 << 16)
    except OSError:  # nobody can write there any more
        return b""
