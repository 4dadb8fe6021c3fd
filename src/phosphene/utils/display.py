"""Progress on the terminal: one bar for each long stage."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from phosphene.utils.progress import Bar


class Terminal:
    """Shows a bar with counts and times; where stderr is not a terminal, one line when a stage ends."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)

    @contextmanager
    def bar(self, stage: str, total: int) -> "Iterator[Bar]":
        if not self.console.is_terminal:
            start = time.monotonic()
            yield lambda n=1: None
            self.console.print(f"{stage}: {total} done in {time.monotonic() - start:.0f} s", highlight=False)
            return
        columns = (
            TextColumn("{task.description:<32}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, refresh_per_second=4) as progress:
            task = progress.add_task(stage, total=total)
            yield lambda n=1: progress.advance(task, n)
            progress.update(task, completed=total)
