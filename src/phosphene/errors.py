"""What a user is told: one line that names the fix."""

from collections.abc import Iterable
from difflib import get_close_matches

_LONGEST = 1000  # characters of a message


class PhospheneError(ValueError):
    """Input that cannot be used. The message is one line and says what to change.

    What a file brought into the message is shortened and made printable.
    """

    def __init__(self, message: str = ""):
        line = "".join(c if c.isprintable() else "?" for c in " ".join(str(message).split()))
        super().__init__(line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ...")


class Damaged(PhospheneError):
    """A file is not what was written there, or is gone; whoever does without what cannot be had does not do so then."""


class MissingExtra(PhospheneError, ImportError):
    """An optional dependency is absent; the message holds the pip command that brings it."""

    def __init__(self, package: str, extra: str):
        super().__init__(f"'{package}' is not installed: pip install 'phosphene[{extra}]'")


def nearest(word: object, valid: Iterable[object]) -> str:
    """How to go on after an unknown ``word``: the nearest valid one, or the valid ones when none is near."""
    names = list(dict.fromkeys(str(v) for v in valid))
    folded = {name.casefold(): name for name in names}
    match = [folded[m] for m in get_close_matches(str(word).casefold(), folded, n=1, cutoff=0.5)]
    if match:
        return f"did you mean '{match[0]}'?"
    shown = sorted(names)
    return f"valid: {', '.join(shown[:20]) or 'none'}" + (f", ... ({len(shown)} in all)" if len(shown) > 20 else "")
