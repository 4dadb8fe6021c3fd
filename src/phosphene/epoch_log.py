"""`log.jsonl` of a run folder: one line for each epoch, whatever was stopped and trained again."""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from phosphene.files import whole


def entries(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line of the log, with its end, and what it holds; a line cut off by a stop is passed over."""
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield f"{line}\n", row


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
        found = {}
        for line, row in entries(self.path):
            with suppress(LookupError, TypeError):
                found[row["fold"], row["stage"], row["epoch"]] = line
        if self.path.is_file() and "".join(found.values()) != self.path.read_text(encoding="utf-8"):
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
