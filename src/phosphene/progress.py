"""Where progress is told: what a display has to offer, and one that shows nothing."""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Bar(Protocol):
    """A progress bar: ``advance(n)``."""

    def __call__(self, n: int = 1) -> None: ...


class Display(Protocol):
    """Where progress is shown; the command line gives a real one."""

    def bar(self, stage: str, total: int) -> AbstractContextManager[Bar]: ...


class Silent:
    """Shows nothing."""

    def bar(self, stage: str, total: int) -> AbstractContextManager[Bar]:
        return nullcontext(lambda n=1: None)
