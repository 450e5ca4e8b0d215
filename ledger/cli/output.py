"""What the commands print: the result on standard output, everything else on standard error.

Names, identifiers and problem texts come from badges and servers, so whatever could move a terminal's cursor or change
its colours is shown as an escape. Colours come only where the stream is a terminal and NO_COLOR is not set.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TextIO

import msgspec

if TYPE_CHECKING:
    from ledger.clock import Clock


#: Characters of one value that people are shown; --json has it whole.
SHOWN_CHARS: Final = 300


def plain(text: str) -> str:
    """The text with everything unprintable, line ends and direction marks included, as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shortened(text: str, most: int = SHOWN_CHARS) -> str:
    """The text, or of a long one the first `most` characters and how many follow: for what others wrote."""
    left = len(text) - most
    return text if left <= 0 else f"{text[:most]}... and {counted(left, 'character')} more"


def counted(number: int, noun: str) -> str:
    """ "1 badge", "2 badges"; the noun in the singular, its plural with an s."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def format_time(ms: int | None) -> str:
    """Milliseconds since the epoch as UTC, to the second."""
    if ms is None:
        return "unknown"
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{ms} ms"


def format_age(seconds: int) -> str:
    """An age in the largest unit that leaves a small number: "42 seconds", "3 hours"."""
    for size, unit in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if abs(seconds) >= 2 * size:
            return f"{seconds // size} {unit}s"
    return f"{seconds} second{'' if seconds == 1 else 's'}"


class Output:
    """The two streams of one run, and its clock. `json` is set by the command's own --json."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock
        self.json = False
        #: What Ctrl-C means at this point, as a sentence.
        self.when_interrupted = "nothing was changed"

    @property
    def clock(self) -> Clock:
        """The machine's clock, or the one that a test hands in. Imported late: it brings asyncio along."""
        if self._clock is None:
            from ledger.clock import SystemClock

            self._clock = SystemClock()
        return self._clock

    def document(self, value: Any) -> None:
        """The machine's result: one JSON document on one line."""
        try:
            text = msgspec.json.encode(value).decode()
            text.encode(sys.stdout.encoding or "utf-8")
        except UnicodeEncodeError:
            # A file name that is no UTF-8, or a terminal that is none: as escapes.
            text = json.dumps(_printable(msgspec.to_builtins(value)))
        sys.stdout.write(text + "\n")

    def lines(self, *lines: str) -> None:
        """The people's result."""
        for line in lines:
            sys.stdout.write(plain(line) + "\n")

    def fields(self, rows: Iterable[tuple[str, str]]) -> None:
        """Labelled values, aligned."""
        shown = [(label, plain(value)) for label, value in rows]
        width = max((len(label) for label, _ in shown), default=0)
        self.lines(*(f"  {label:<{width}}  {value}" for label, value in shown))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table: fitted to a terminal, and never cut where it is piped."""
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, show_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold", header_style="bold")
        for row in rows:
            table.add_row(*(Text(plain(cell)) for cell in row))
        console = _console(sys.stdout)
        if console.is_terminal:
            console.print(table)
            return
        console.width = 10_000
        with console.capture() as captured:
            console.print(table)
        self.lines(*(line.rstrip() for line in captured.get().splitlines()))

    def styled(self, text: str, style: str) -> None:
        """One line of the people's result in a style, where styles can be seen."""
        from rich.text import Text

        _console(sys.stdout).print(Text(plain(text), style=style), soft_wrap=True)

    def note(self, text: str) -> None:
        """Something worth knowing that is no result."""
        sys.stderr.write(plain(text) + "\n")

    @contextmanager
    def progress(self, what: str, total: int | None) -> Iterator[Progress]:
        """A bar on standard error while the block runs, if that is a terminal."""
        if not sys.stderr.isatty() or total == 0:
            yield Progress(None, None)
            return
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Bar(*columns, console=_console(sys.stderr), transient=True) as bar:
            yield Progress(bar, bar.add_task(what, total=total))


def _printable(value: Any) -> Any:
    """A document whose texts are Unicode: octets of file names that are not UTF-8 become \\udcNN."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_printable(name): _printable(item) for name, item in value.items()}
    return [_printable(item) for item in value] if isinstance(value, list | tuple) else value


class Progress:
    """Advances a bar, or nothing where there is none."""

    def __init__(self, bar: Any, task: Any) -> None:
        self._bar = bar
        self._task = task

    def advance(self, steps: float = 1) -> None:
        """`steps` more are done; whole ones are shown."""
        if self._bar is not None:
            self._bar.advance(self._task, steps)

    def reach(self, done: int, total: int) -> None:
        """`done` of `total` are done, where the total is known only now."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)


def _console(stream: TextIO) -> Any:
    from rich.console import Console

    return Console(file=stream, highlight=False, emoji=False, markup=False)
