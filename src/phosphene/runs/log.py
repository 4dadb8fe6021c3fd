"""`log.jsonl` of a run folder: one line for each epoch, whatever was stopped and trained again."""

import json
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from phosphene.utils.checksums import intact, kept


def entries(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line of the log, with its end, and what it holds; what is no line of it is passed over."""
    intact(path, "remove it, and the losses of the epochs that it held are shown no more")
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
        """By fold, stage and epoch."""
        found = {}
        for line, row in entries(self.path):
            with suppress(LookupError, TypeError):
                found[row["fold"], row["stage"], row["epoch"]] = line
        return found

    def add(self, row: dict[str, Any]) -> None:
        """A row with `fold`, `stage` and `epoch`; an epoch that is trained again, for want of its checkpoint, replaces
        its line."""
        key = (row["fold"], row["stage"], row["epoch"])
        self._lines.pop(key, None)
        self._lines[key] = json.dumps(row) + "\n"
        with kept(self.path) as part:
            part.write_text("".join(self._lines.values()), encoding="utf-8")
