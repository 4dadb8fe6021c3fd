"""Where progress is told: what a display has to offer, and one that shows nothing; and other libraries kept quiet."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
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


@contextmanager
def quiet() -> Iterator[None]:
    """No bars and no advice from transformers, diffusers and the Hub's client meanwhile."""
    logs = [import_module(f"{name}.utils.logging") for name in ("huggingface_hub", "transformers", "diffusers")]
    bars = [log for log in logs if hasattr(log, "disable_progress_bar") and log.is_progress_bar_enabled()]
    before = [log.get_verbosity() for log in logs]
    for log in logs:
        log.set_verbosity_error()
    for log in bars:
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, verbosity in zip(logs, before, strict=True):
            log.set_verbosity(verbosity)
        for log in bars:
            log.enable_progress_bar()
