"""What a user is told: one line that names the fix."""

from collections.abc import Iterable
from difflib import get_close_matches


class PhospheneError(ValueError):
    """Input that cannot be used. The message is one line and says what to change."""


class MissingExtra(PhospheneError, ImportError):
    """An optional dependency is absent; the message holds the pip command that brings it."""

    def __init__(self, package: str, extra: str):
        super().__init__(f"'{package}' is not installed: pip install 'phosphene[{extra}]'")


def nearest(word: object, valid: Iterable[object]) -> str:
    """How to go on after an unknown ``word``: the nearest valid one, or all of them when none is near."""
    names = [str(v) for v in valid]
    folded = {name.casefold(): name for name in names}
    match = [folded[m] for m in get_close_matches(str(word).casefold(), folded, n=1, cutoff=0.5)]
    return f"did you mean '{match[0]}'?" if match else f"valid: {', '.join(sorted(names)) or 'none'}"
