"""What reaches the terminal: names of files, answers of servers and contents of presets may hold what a terminal obeys."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any, Iterator

import click

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["clock", "counted", "duration", "echo", "printable", "printable_errors", "terminal", "three_digits"]


def counted(number: int, noun: str) -> str:
    """``number`` and the noun, in the plural where it is not one: "1 file", "2 files"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def printable(text: str, kept: str = "") -> str:
    """``text`` with every character escaped that is no visible one or the blank, such as ESC, line ends and marks that turn
    the direction of writing, and bytes of a file name that are no text.

    Args:
        text: any string.
        kept: characters that stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode("ascii") for c in text)


def clock(seconds: float) -> str:
    """A time as hours, minutes and seconds, such as "0:02:05"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def duration(seconds: float) -> str:
    """A time as "1 h 02 min", "3 min 04 s" or "5 s"; "–" for what is no finite number."""
    if not math.isfinite(seconds):
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def three_digits(value: float) -> str:
    """A number with three significant digits, whole from 1000 to a million; "–" for what is no finite number."""
    if not math.isfinite(value):
        return "–"
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:#.3g}".rstrip(".")


def echo(message: object = "", nl: bool = True, err: bool = False) -> None:
    """``click.echo`` of text that is ``printable``; line ends and tabs of the message stay."""
    click.echo(printable(str(message), "\n\t"), nl=nl, err=err)


@contextlib.contextmanager
def printable_errors() -> Iterator[None]:
    """Make the messages of click's exceptions that leave the block ``printable``; line ends stay."""
    try:
        yield
    except click.ClickException as err:
        vars(err)["message"] = printable(str(err.message), "\n\t")  # declared final; hosts give an exception for it
        raise


def terminal(**kwargs: Any) -> "Console":
    """A console of rich that shows text as it is, without rich's markup and colours of its own choice, and ``printable``.

    Args:
        kwargs: of ``rich.console.Console``.
    """
    from rich.console import Console
    from rich.segment import Segment
    from rich.text import Text

    class PrintableConsole(Console):
        def render_str(self, text: str, **kwargs: Any) -> Text:
            return super().render_str(printable(text, "\n"), **kwargs)  # before it is measured

        def render(self, *args: Any, **kwargs: Any) -> Iterator[Segment]:
            for segment in super().render(*args, **kwargs):
                yield segment if segment.control else segment._replace(text=printable(segment.text, "\n"))

    return PrintableConsole(markup=False, highlight=False, emoji=False, **kwargs)
