"""The caption table on disk: written batch by batch, continued where it stopped.

```
captions/
  captions.csv    stimulus, slot, level, caption, model, prompt_sha, picture_sha, date
  captions.json   who said it, with which settings, and the slots with their prompts
```

A run that was killed leaves whole lines and at most one torn one, which goes. A picture without any caption counts as
not asked yet. Captions are never asked for while training: whoever trains reads this table.
"""

import csv
import io
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from phosphene.captions.base import LONGEST, Captioner, clean, too_long
from phosphene.captions.slots import SLOTS, Slot
from phosphene.errors import PhospheneError
from phosphene.utils.files import digest, read_json, whole, write_json
from phosphene.utils.paths import regular
from phosphene.utils.tables import parse, read_text

COLUMNS = ("stimulus", "slot", "level", "caption", "model", "prompt_sha", "picture_sha", "date")
TABLE, ABOUT = "captions.csv", "captions.json"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Captions:
    """A caption table.

    Parameters
    ----------
    rows : (n_stimuli * n_slots, 8) text, the columns of `captions.csv`.
    slots : what was asked.
    """

    rows: pd.DataFrame
    slots: tuple[Slot, ...]

    @classmethod
    def read(cls, folder: str | Path) -> "Captions":
        """Of a folder that `write` made, or is making.

        Raises
        ------
        PhospheneError
            If it is no such folder, or its table was damaged.
        """
        folder = Path(folder)
        if not (folder / ABOUT).is_file() or not (folder / TABLE).is_file():
            raise PhospheneError(f"{folder} is not a folder of captions: give one that `phosphene caption` wrote")
        about = read_json(folder / ABOUT)
        try:
            slots = tuple(Slot(**slot) for slot in about["slots"])
        except (TypeError, KeyError):
            raise PhospheneError(f"{folder / ABOUT} was changed by hand: restore it") from None
        table = _parsed(folder / TABLE, read_text(folder / TABLE))
        known = [slot.name for slot in slots]
        for name in table["slot"].unique():
            if name not in known:
                raise PhospheneError(f"{folder / TABLE} has captions of an unknown slot '{name}': remove them")
        twice = table[table.duplicated(["stimulus", "slot"])]
        if len(twice):
            first = twice.iloc[0]
            raise PhospheneError(f"{folder / TABLE} has {first['slot']} of '{first['stimulus']}' twice: keep one row")
        return cls(table, slots)

    def mute(self) -> list[str]:
        """The stimuli of which nothing was said."""
        said = self.rows["caption"].str.strip() != ""
        spoken = set(self.rows["stimulus"][said])
        return [str(s) for s in self.rows["stimulus"].drop_duplicates() if s not in spoken]

    def wide(self) -> pd.DataFrame:
        """(n_stimuli, n_slots) captions, indexed by stimulus; a missing one is empty."""
        names = [slot.name for slot in self.slots]
        table = self.rows.pivot(index="stimulus", columns="slot", values="caption")
        table = table.reindex(index=self.rows["stimulus"].drop_duplicates(), columns=names).fillna("")
        table.columns.name = None
        return table


def write(
    captioner: Captioner,
    stimuli: pd.DataFrame,
    out: str | Path,
    slots: Sequence[Slot] = SLOTS,
    *,
    agree: Callable[[str], bool] | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    tick: Callable[[int], object] = lambda n: None,
) -> Captions:
    """Caption what ``out`` does not hold yet; the same call goes on where a stopped one was.

    Parameters
    ----------
    captioner : who says it.
    stimuli : (n_stimuli, columns), indexed by stimulus, with the pictures' paths in `image` where they are looked at.
    out : folder of the table.
    slots : what is said.
    agree : is shown what would be sent, to whom and at what cost, and says whether to; only asked where something is.
    now : the date and time that rows are given.
    tick : is told how many stimuli more were captioned.

    Raises
    ------
    PhospheneError
        If ``out`` holds captions of other pictures, prompts or another model, nobody agreed to what is sent, or in the
        end nothing was said of any stimulus: then nothing is kept.
    """
    out, slots = Path(out), tuple(slots)
    stimuli = stimuli.set_axis(stimuli.index.astype(str))
    if not len(stimuli):
        raise PhospheneError("there are no stimuli to caption: give at least one")
    captioner.check(stimuli, slots)
    sums = {s: _sum(p) for s, p in stimuli["image"].items()} if "image" in stimuli else dict.fromkeys(stimuli.index, "")
    done = _continued(captioner, sums, out, slots)
    left = stimuli.loc[[s for s in stimuli.index if s not in done]]
    tick(len(stimuli) - len(left))
    if not len(left):
        return Captions.read(out)
    if (notice := captioner.notice(left, slots)) and (agree is None or not agree(notice)):
        raise PhospheneError(f"nothing was sent, as nobody agreed: {notice}")
    held, spoken = "", bool(done)  # rows without a caption wait for the first that has one
    n_cut = 0
    with _begun(captioner, out, slots):
        for start in range(0, len(left), captioner.batch_size):
            batch = left.iloc[start : start + captioner.batch_size]
            answers = captioner.caption(batch, slots)
            date, model = now().isoformat(timespec="seconds"), captioner.identity()
            rows = [
                (stimulus, slot.name, slot.level, clean(said[slot.name]), model, slot.checksum, sums[stimulus], date)
                for stimulus, said in zip(batch.index, answers, strict=True)
                for slot in slots
            ]
            spoken, held = spoken or any(row[3] for row in rows), held + _lines(rows)
            if spoken:
                _append(out / TABLE, held)
                held = ""
            n_cut += sum(too_long(said[slot.name]) for said in answers for slot in slots)
            tick(len(batch))
        if not spoken:
            raise PhospheneError(
                f"{captioner.identity()} gave no usable caption of any of {len(left)} stimuli, so nothing is kept: "
                "look at its answers, or choose another model"
            )
    if n_cut:
        log.warning("%d captions are longer than %d characters and are cut", n_cut, LONGEST)
    return Captions.read(out)


@contextmanager
def _begun(captioner: Captioner, out: Path, slots: tuple[Slot, ...]) -> Iterator[None]:
    """A folder that can be written to, before anything is asked; a new one goes again if an error is all that came."""
    if (out / TABLE).is_file():
        yield
        return
    own = not out.exists()
    about = {"model": captioner.identity(), "settings": captioner.config()}
    write_json(out / ABOUT, {**about, "slots": [slot._asdict() for slot in slots]})
    head = _lines([COLUMNS])
    with whole(out / TABLE) as part:
        part.write_text(head, encoding="utf-8")
    try:
        yield
    except BaseException:
        if (out / TABLE).read_text(encoding="utf-8") == head:
            (out / TABLE).unlink()
            (out / ABOUT).unlink()
            if own:
                out.rmdir()
        raise


def _continued(captioner: Captioner, sums: dict[str, str], out: Path, slots: tuple[Slot, ...]) -> set[str]:
    """The stimuli that ``out`` has captions of; a torn line and pictures without a caption are taken out of it."""
    if not (out / TABLE).is_file():
        if out.exists() and not (out.is_dir() and all(p.name == ABOUT or p.name[0] == "." for p in out.iterdir())):
            raise PhospheneError(f"{out} exists and holds no captions: choose another --out")
        return set()
    text = read_text(out / TABLE)
    kept = text[: text.rfind("\n") + 1]
    table = _parsed(out / TABLE, kept)
    said = table[table["caption"] != ""].groupby("stimulus").size()
    rows = table.groupby("stimulus").size()
    done = {str(s) for s in said.index if rows[s] == len(slots)}
    old = read_json(out / ABOUT)
    other = "choose another --out"
    asked = {slot.name: slot.checksum for slot in slots}
    try:
        before = {Slot(**slot).name: Slot(**slot).checksum for slot in old["slots"]}
        model = old["model"]
    except (TypeError, KeyError):
        raise PhospheneError(f"{out / ABOUT} was changed by hand: restore it, or {other}") from None
    if before.keys() != asked.keys():
        odd = sorted(before.keys() ^ asked.keys())[0]
        raise PhospheneError(f"{out} holds captions of other slots ('{odd}' is asked on one side only): {other}")
    if changed := [name for name in asked if asked[name] != before[name]]:
        raise PhospheneError(f"the prompt of slot '{changed[0]}' changed since {out} was begun: {other}, or undo it")
    if model != captioner.identity():
        raise PhospheneError(f"{out} holds captions by {model}, not {captioner.identity()}: {other}")
    for row in table.drop_duplicates("stimulus").itertuples():
        if row.stimulus in sums and row.picture_sha != sums[row.stimulus]:
            raise PhospheneError(
                f"the picture of '{row.stimulus}' changed since it was captioned: remove its rows or {other}"
            )
    whole_rows = table[table["stimulus"].isin(done)]
    if (mended := _lines([COLUMNS, *whole_rows.itertuples(index=False)])) != text:
        with whole(out / TABLE) as part:
            part.write_text(mended, encoding="utf-8")
    return done


def _parsed(path: Path, text: str) -> pd.DataFrame:
    """The rows, also of a table that a spreadsheet saved again."""
    try:
        table = parse(text, path, empty=True)
    except PhospheneError as error:
        line = str(error).removeprefix(str(path)).lstrip(": ")
        raise PhospheneError(f"{path} is damaged ({line}): mend it or choose another --out") from None
    if tuple(table) != COLUMNS:
        raise PhospheneError(
            f"{path} is damaged: its columns are {', '.join(COLUMNS)}; mend it or choose another --out"
        )
    return table.reset_index(drop=True).astype(object)


def _lines(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _append(path: Path, text: str) -> None:
    try:
        with path.open("a", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise PhospheneError(f"{path} cannot be written ({error.strerror}): repeat the command to resume") from None


def _sum(path: str | Path) -> str:
    return digest(regular(path, "is missing: restore it or drop its stimulus", "picture"))
