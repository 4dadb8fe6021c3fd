"""Requests that may fail and succeed when tried again: growing pauses, and an end."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

import tenacity

from phosphene.errors import PhospheneError

LONGEST_WAIT = 600.0  # s that a server may ask for
T = TypeVar("T")
log = logging.getLogger(__name__)


class Passing(Exception):
    """A failure that may not come again; the server may say how many seconds to wait."""

    def __init__(self, reason: str, wait: float = 0.0):
        super().__init__(reason)
        self.wait = wait


def persist(
    act: Callable[[], T],
    *,
    tries: int,
    sleep: Callable[[float], None] = time.sleep,
    chance: Callable[[], float] = lambda: 1.0,
    reached: Callable[[], int] = lambda: 0,
) -> T:
    """Call ``act`` until it is not `Passing`.

    Parameters
    ----------
    tries : failures in a row, none of which brought a byte more, before giving up.
    sleep : waits so many seconds.
    chance : of 0 to 1; a pause is at least half as long as it could be. Several clients then do not come all at once.
    reached : counts what has arrived.

    Raises
    ------
    PhospheneError
        It failed too often, or the server asks to wait for more than ten minutes.
    """
    best, failures = reached(), 0

    def count(state: tenacity.RetryCallState) -> None:
        nonlocal best, failures
        now = reached()
        best, failures = max(best, now), 0 if now > best else failures + 1

    def asked(state: tenacity.RetryCallState) -> float:
        return float(getattr(state.outcome.exception() if state.outcome else None, "wait", 0.0))

    def pause(state: tenacity.RetryCallState) -> float:
        return max(asked(state), min(60.0, 2.0**failures) * (0.5 + 0.5 * chance()))

    def tell(state: tenacity.RetryCallState) -> None:
        log.warning("%s; on again in %.0f s", state.outcome and state.outcome.exception(), state.upcoming_sleep)

    again = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(Passing),
        after=count,
        wait=pause,
        stop=lambda state: failures >= tries or asked(state) > LONGEST_WAIT,
        before_sleep=tell,
        sleep=sleep,
        reraise=True,
    )
    try:
        return again(act)
    except Passing as error:
        why = f", {failures} times" if failures >= tries else f" and asks to wait {error.wait / 60:.0f} minutes"
        raise PhospheneError(f"{error}{why}: repeat the command to resume") from None
