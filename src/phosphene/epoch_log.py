"""`log.jsonl` of a run folder: one line for each epoch, whatever was stopped and trained again."""

import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from phosphene.files import whole


class EpochLog:
    """The losses of every epoch, by fold and stage.

    Parameters
    ----------
    path : of the file; it need not exist.
    """

    def __init__(self, path: Path):
        self.path = path

    @cached_property
    def _lines(self) -> dict[tuple[str, str, int], str]:
        """By fold, stage and epoch; what a stop cut off is no line, and is taken away."""
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True) if self.path.is_file() else []
        found = {}
        for line in lines:
            try:
                row = json.loads(line)
                found[row["fold"], row["stage"], row["epoch"]] = line.rstrip("\n") + "\n"
            except (ValueError, TypeError, LookupError):
                continue
        if lines and "".join(found.values()) != "".join(lines):
            self._rewrite(found.values())
        return found

    def add(self, row: dict[str, Any]) -> None:
        """A row with `fold`, `stage` and `epoch`; an epoch that is trained again, for want of its checkpoint, replaces
        its line."""
        key = (row["fold"], row["stage"], row["epoch"])
        again = self._lines.pop(key, None)
        self._lines[key] = json.dumps(row) + "\n"
        if again is not None:
            self._rewrite(self._lines.values())
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(self._lines[key])

    def _rewrite(self, lines: Iterable[str]) -> None:
        with whole(self.path) as part:
            part.write_text("".join(lines), encoding="utf-8")
