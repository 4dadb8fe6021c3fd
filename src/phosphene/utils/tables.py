"""Tables that people write: read from a file as text, or taken from memory; their labels, numbers and gaps.

The one reader of events, trials, stimuli and captions. Nothing shifts a column: a row that has more or fewer cells than
the header is refused.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from phosphene.errors import PhospheneError, nearest
from phosphene.utils.paths import regular

COLUMNS = ("subject", "session", "run", "block", "onset", "stimulus", "concept", "repeat", "split")
LARGEST = 1 << 28  # bytes of a file

#: what stands for a missing value in any column, besides None, NaN and an empty cell
MISSING = frozenset({"", "n/a", "N/A", "#N/A", "<NA>", "NaN", "NaT", "NULL"})
#: what does so in a column of numbers alone: something may be called so
DOUBTFUL = frozenset({"nan", "NA", "None", "null"})

_SEPARATORS = {"\t": "tab", ";": "semicolon", "|": "bar", ",": "comma"}  # the rarest within a text first
_WHOLE = re.compile(r"(-?\d+)\.0")
_MARKS = "\ufeff\u200b"  # a byte-order mark, and a space that nobody sees

# -- files -------------------------------------------------------------------------------------------------------------


def read_text(path: str | Path) -> str:
    """A text file in UTF-8, with or without a byte-order mark; line ends as they are.

    Raises
    ------
    PhospheneError
        If it is missing, no file, larger than 256 MiB, or in another encoding.
    """
    path = regular(path, "is missing: check the path, or restore it")
    try:
        if path.stat().st_size > LARGEST:
            raise PhospheneError(f"{path} is larger than 256 MiB: is it a table?")
        data = path.read_bytes()
    except OSError as error:
        raise PhospheneError(f"{path} cannot be read ({error.strerror}): check its permissions") from None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise PhospheneError(f"{path} is UTF-16 text: save it as UTF-8 (in Excel: CSV UTF-8)")
    if data[:4] in (b"PK\x03\x04", b"\xd0\xcf\x11\xe0"):
        raise PhospheneError(f"{path} is a spreadsheet or an archive, not text: save the table as CSV")
    if b"\0" in data:
        raise PhospheneError(f"{path} holds NUL bytes, so that it is no UTF-8 text: save the table as CSV, in UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PhospheneError(
            f"{path} is not UTF-8 text (byte 0x{data[error.start]:02x} in line {line}): save it as UTF-8"
        ) from None


def read_cells(path: str | Path, empty: bool = False) -> pd.DataFrame:
    """A table of a text file: (n_rows, columns), every cell as text without the spaces around it.

    Cells are separated by commas, semicolons, tabs, bars or spaces, whatever the file is called. Blank lines,
    separators at the end of lines and row numbers without a header are left out.

    Parameters
    ----------
    path : the file.
    empty : whether a header alone will do.

    Returns
    -------
    The cells, indexed by the line of the file ("line") in which each row begins.

    Raises
    ------
    PhospheneError
        If the file is no UTF-8 text, a row has more or fewer cells than the header, or the header lacks a name or has
        one twice.
    """
    return parse(read_text(path), path, empty)


def parse(text: str, where: object, empty: bool = False) -> pd.DataFrame:
    """The same of the text of a file; ``where`` is what errors call it."""
    text = text.lstrip(_MARKS)
    first, named = 0, re.match(r'"?sep=(.)"?\r?\n', text)  # Excel's own first line
    if named:
        text, first = text[named.end() :], 1
    sep, records = _separated(text, where, named and named[1])
    if not records:
        raise PhospheneError(f"{where} is empty: write a header, and a row for each event, trial or stimulus")
    (_, header), *rows = records
    header = _stripped([name.strip(_MARKS).strip() for name in header])
    n = len(header)
    for line, cells in rows:
        if not _fits(cells, n):
            fix = "fill in what is missing, empty cells too"
            if len(cells) > n:
                fix = f"put quotes around a cell that holds a {_SEPARATORS.get(sep, 'space')}, or name every column"
            had = len(_stripped(cells)) if len(cells) > n else len(cells)
            raise PhospheneError(
                f"{where}: line {line + first} has {had} cell{'s' * (had != 1)} and the header {n}: {fix}"
            )
    if not rows and not empty:
        raise PhospheneError(f"{where} has a header and no rows: add a row for each event, trial or stimulus")
    index = pd.Index([line + first for line, _ in rows], name="line", dtype=int)
    table = pd.DataFrame([cells[:n] for _, cells in rows], columns=range(n), index=index, dtype=str)
    if not header[0] and n > 1 and table[0].str.fullmatch(r"\d+").all():  # row numbers, as pandas and R write them
        table, header = table.drop(columns=0), header[1:]
    table.columns = pd.Index(header)
    check_names(table, where)
    return table


def _separated(text: str, where: object, sep: str | None) -> tuple[str, list[tuple[int, list[str]]]]:
    """The separator, and the records: one that the header holds, by which every row has as many cells as the header."""
    if sep is not None:
        return sep, _records(text, sep, where)
    begin = next((line for line in io.StringIO(text, newline="") if line.strip()), "").strip()
    found, failed = {}, None
    for sep in [s for s in _SEPARATORS if s in begin] or [",", *([" "] if " " in begin else [])]:
        try:
            found[sep] = _records(text, sep, where)
        except PhospheneError as error:
            failed = failed or error
    if not found and failed is not None:
        raise failed
    several = {s: records for s, records in found.items() if records and len(_stripped(records[0][1])) > 1}
    if len(several) == 1 and " " not in several:
        return next(iter(several.items()))
    for sep, ((_, header), *rows) in several.items():
        if rows and all(_fits(cells, len(_stripped(header))) for _, cells in rows):
            return sep, several[sep]
    several.pop(" ", None)  # the words of a name, if they do not make columns
    if not several:
        return ",", found.get(",") or next(iter(found.values()))
    most = max(several, key=lambda sep: len(several[sep][0][1]))
    return most, several[most]


def _fits(cells: list[str], n: int) -> bool:
    """Whether a row has ``n`` cells; empty ones may follow."""
    return len(cells) >= n and not any(cells[n:])


def _stripped(cells: list[str]) -> list[str]:
    """Without the empty cells at the end."""
    n = len(cells)
    while n > 1 and not cells[n - 1]:
        n -= 1
    return cells[:n]


def _records(text: str, sep: str, where: object) -> list[tuple[int, list[str]]]:
    """Line and cells of each record that holds anything."""
    lines = io.StringIO(text, newline="")
    reader = csv.reader(
        (line.strip(" ") for line in lines) if sep == " " else lines, delimiter=sep, strict=True, skipinitialspace=True
    )
    records, line = [], 1
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if any(cells):
                records.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        raise PhospheneError(f"{where}: line {line} cannot be read as a row ({error}): check its quotes") from None
    return records


# -- from files and from memory ----------------------------------------------------------------------------------------


def frame(value: Any, where: object) -> pd.DataFrame:
    """A table in memory (a `DataFrame`, a list of dicts, a dict of columns); rows are numbered from 0.

    Raises
    ------
    PhospheneError
        If it is no table, or has a column twice.
    """
    if isinstance(value, pd.DataFrame) and not set(value.index.names).isdisjoint({*COLUMNS} - {*value.columns}):
        value = value.reset_index()
    try:
        table = pd.DataFrame(value).reset_index(drop=True)
    except (ValueError, TypeError):
        raise PhospheneError(f"{where} is not a table: give a file, a DataFrame or a list of dicts") from None
    table.columns = pd.Index([name.strip() if isinstance(name, str) else name for name in table.columns])
    check_names(table, where)
    return table


def check_names(table: pd.DataFrame, where: object) -> None:
    """Refuse a column without a name, and a name that two columns have."""
    for i, name in enumerate(table.columns):
        if name == "":
            raise PhospheneError(f"{where}: column {i + 1} has no name: write one into the header")
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        raise PhospheneError(f"{where} has two columns '{twice[0]}': rename one")


def check_spelling(table: pd.DataFrame, where: object, known: Sequence[str] = (*COLUMNS, "image")) -> None:
    """Refuse a column that is a known one but for capitals or signs, as it would be ignored without a word."""
    for name in table.columns:
        plain = re.sub(r"[\W_]+", "", str(name)).casefold()
        if plain in known and name != plain and plain not in table:
            raise PhospheneError(f"{where} has a column '{name}', which is not read: rename it '{plain}'")


def check_column(table: pd.DataFrame, name: str, where: object, key: str) -> None:
    """Refuse a column that ``table`` (read from ``where``) lacks; ``key`` is the setting to change."""
    if name not in table:
        raise PhospheneError(f"{where} has no column '{name}': {nearest(name, table.columns)} (set {key})")


def label(value: Any) -> str:
    """A value as the text of a label: a missing one is empty, and whole numbers have no point (1.0 is "1")."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    elif pd.api.types.is_scalar(value) and pd.isna(value):
        return ""
    text = str(value).strip()
    if text in MISSING:
        return ""
    if isinstance(value, datetime):
        text = text.removesuffix(" 00:00:00")
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


def labels(column: pd.Series) -> pd.Series:
    """A column as labels, missing ones empty; of text, numbers, categories, dates or any mixture."""
    return pd.Series([label(value) for value in column], index=column.index, dtype=str, name=column.name)


def asked(values: Any) -> list[str]:
    """The labels that a user asks for: one value, or several."""
    several = isinstance(values, Iterable) and not isinstance(values, str | bytes)
    return [label(value) for value in (values if several else [values])]


def numbers(table: pd.DataFrame, column: str, where: object, gaps: bool = False) -> pd.Series:
    """A column as finite numbers; with ``gaps``, cells may be missing (NaN)."""
    text = labels(table[column])
    values = pd.to_numeric(text, errors="coerce").astype(float)
    odd = ~np.isfinite(values)
    if gaps:
        odd &= ~text.isin({"", *DOUBTFUL})
    if odd.any():
        place, said = row(text, odd), text[odd].iloc[0]
        if not said or said in DOUBTFUL:
            raise PhospheneError(f"{where}, {place} has no {column}: fill it in, or leave it out")
        fix = "write it with a decimal point, and no separator of thousands" if "," in said else "correct it"
        raise PhospheneError(f"{where}, {place}: {column} '{said}' is not a number: {fix}")
    return values


def places(index: pd.Index) -> list[str]:
    """How errors call rows: by the line of a file, else by the number."""
    if index.name == "line":
        return [f"line {name}" for name in index]
    return [name if isinstance(name, str) else f"row {name} (from 0)" for name in index]


def row(column: pd.Series, which: pd.Series) -> str:
    """How errors call the first row of those that ``which`` marks."""
    return places(column.index[which.to_numpy()][:1])[0]


def check_filled(table: pd.DataFrame, columns: Sequence[str], where: object) -> None:
    """Refuse a missing label in these columns, which hold what `labels` gives."""
    for name in columns:
        gaps = table[name] == ""
        if gaps.any():
            more = f" ({int(gaps.sum())} such rows)" if gaps.sum() > 1 else ""
            raise PhospheneError(f"{where}, {row(table[name], gaps)} has no {name}{more}: fill it in, or leave it out")


def completed(table: pd.DataFrame, **defaults: str) -> pd.DataFrame:
    """The table with these columns as labels: the default where a column is absent or empty throughout."""
    found = {name: labels(table[name]) for name in defaults if name in table}
    empty = {name: default for name, default in defaults.items() if name not in found or (found[name] == "").all()}
    return table.assign(**{**found, **empty})


def doubts(table: pd.DataFrame) -> list[str]:
    """Notes on labels of trials that look like missing values and are taken for names, and on missing onsets."""
    found = []
    for name in (name for name in COLUMNS if name in table and name not in ("onset", "repeat")):
        own = table[name] if name == "stimulus" else table[name][table[name] != table["stimulus"]]
        for word, count in own[own.isin(DOUBTFUL)].value_counts().items():
            found.append(f"{name} '{word}' of {count} trials is taken for a name: leave the cell empty if it is none")
    gaps = table["onset"].isna()
    if gaps.any() and not gaps.all():
        found.append(f"the onset of {int(gaps.sum())} of {len(table)} trials is missing")
    return found
