"""Quality control of a caption table: what is empty, too long, said twice or contradictory, and how people agree.

Every line of the result is a finding about one caption, or a figure of one slot:

| check | of | value |
|---|---|---|
| `empty` | a caption | 0 |
| `too_long` | a caption | CLIP tokens, start and end counted; CLIP cuts what lies beyond 77 |
| `same_in_picture` | two slots of a picture that say the same words, articles aside | 1 |
| `contradiction` | two slots of a picture, by the rules of `contradictions` | 1 |
| `shared` | a slot | share of pictures whose caption another picture has too: high by nature for kinds and moods |
| `token_f1` | a slot | mean F1 of words with the nearest human caption of the picture, 0 to 1 |
| `cider` | a slot | mean CIDEr against the human captions, 0 to 1; needs two pictures |
| `clip` | a slot | mean cosine of CLIP's text embeddings, with the nearest human caption |

`chance` is the same figure with the human captions of the next picture.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from phosphene.captions.base import clean
from phosphene.captions.contradictions import contradictions
from phosphene.captions.slots import CLIP_TOKENS
from phosphene.captions.store import Captions
from phosphene.captions.tables import cells
from phosphene.captions.tokens import Count, estimate
from phosphene.errors import PhospheneError, nearest
from phosphene.utils.vectors import unit

COLUMNS = ("check", "stimulus", "slot", "other", "value", "chance", "detail")
_WORD = re.compile(r"\w+(?:'\w+)?")
_ARTICLES = ("a", "an", "the")

Embed = Callable[[Sequence[str]], np.ndarray]
Cider = Callable[[Sequence[str], Sequence[Sequence[str]]], np.ndarray]


def check(
    captions: Captions,
    human: str | Path | pd.DataFrame | None = None,
    *,
    count: Count = estimate,
    cider: Cider | None = None,
    embed: Embed | None = None,
) -> pd.DataFrame:
    """What is wrong with captions, and how far people agree: the columns of `COLUMNS`.

    Parameters
    ----------
    captions : the table.
    human : captions by people: a file (CSV, TSV, JSON) or a table indexed by stimulus, with columns named as slots or
        one column `caption` that every slot is compared with. A stimulus may have several rows. Stimuli that are on
        one side only are left out.
    count : CLIP tokens of a caption; by default a rule that errs upwards. `tokens.counter(tokenizer)` counts truly.
    cider : `phosphene.evaluation.metrics.cider.cider`, or `cider_d`; without it that figure is left out.
    embed : captions -> (n, dim) embeddings, such as `CLIPText(backbone=...).texts`; without it `clip` is left out.

    Raises
    ------
    PhospheneError
        If the human captions have no stimulus or no slot in common with the table.
    """
    wide = captions.wide()
    rows = [*_each(captions, wide, count), *_shared(wide)]
    if human is not None:
        rows += _agreement(wide, human if isinstance(human, pd.DataFrame) else cells(human), cider, embed)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def lines(found: pd.DataFrame) -> list[str]:
    """The findings in a few lines: how many of each, one example, and the figures."""
    said = []
    for name in ("empty", "too_long", "same_in_picture", "contradiction"):
        some = found[found["check"] == name]
        example = f", such as {some.iloc[0]['stimulus']}: {some.iloc[0]['detail']}" if len(some) else ""
        said.append(f"{name}: {len(some)}{example}")
    for row in found[~found["check"].isin(["empty", "too_long", "same_in_picture", "contradiction"])].itertuples():
        beside = "" if np.isnan(row.chance) else f" (next picture's: {row.chance:.3f})"
        said.append(f"{row.check} {row.slot}: {row.value:.3f}{beside}, {row.detail}")
    return said


_Row = tuple[str, str, str, str, float, float, str]
_NONE = float("nan")


def _each(captions: Captions, wide: pd.DataFrame, count: Count) -> list[_Row]:
    rows: list[_Row] = []
    for stimulus, cell in wide.iterrows():
        name, said = str(stimulus), dict(cell)
        first: dict[tuple[str, ...], str] = {}
        for slot in captions.slots:
            caption = said[slot.name]
            if not caption:
                rows.append(("empty", name, slot.name, "", 0.0, _NONE, f"{slot.name} says nothing"))
                continue
            if (n := count(caption)) > slot.max_tokens:
                cut = "CLIP cuts it" if n > CLIP_TOKENS else f"over the slot's {slot.max_tokens}"
                rows.append(("too_long", name, slot.name, "", float(n), _NONE, f"{slot.name} has {n} tokens, {cut}"))
            key = tuple(w for w in words(caption) if w not in _ARTICLES)
            other = first.setdefault(key, slot.name)
            if other != slot.name:
                rows.append(
                    ("same_in_picture", name, slot.name, other, 1.0, _NONE, f"{other} and {slot.name}: {caption}")
                )
        for c in contradictions(said, captions.slots):
            detail = f"{c.rule}: {c.slot} says {c.says}, {c.other} says {c.says_other}"
            rows.append(("contradiction", name, c.slot, c.other, 1.0, _NONE, detail))
    return rows


def _shared(wide: pd.DataFrame) -> list[_Row]:
    rows: list[_Row] = []
    for name in wide:
        said = [" ".join(words(c)) for c in wide[name] if c]
        if said:
            times = Counter(said)
            share = sum(n for n in times.values() if n > 1) / len(said)
            detail = f"{len(times)} different captions of {len(said)} pictures"
            rows.append(("shared", "", str(name), "", share, _NONE, detail))
    return rows


def _agreement(wide: pd.DataFrame, human: pd.DataFrame, cider: Cider | None, embed: Embed | None) -> list[_Row]:
    rows: list[_Row] = []
    human = human.set_axis(human.index.astype(str))
    columns = {str(name): str(name) if name in human else "caption" for name in wide}
    columns = {slot: column for slot, column in columns.items() if column in human}
    if not columns:
        raise PhospheneError(
            f"the human captions have neither a slot's column nor 'caption': {nearest(wide.columns[0], human.columns)}"
        )
    both = [s for s in wide.index if s in human.index]
    if not both:
        raise PhospheneError(
            f"the human captions cover neither '{wide.index[0]}' nor any other stimulus: "
            f"{nearest(wide.index[0], human.index)}"
        )
    for slot, column in columns.items():
        true = {s: [t for t in map(_text, human.loc[[s], column]) if t] for s in both}
        kept = [s for s in both if true[s] and wide.at[s, slot]]
        if not kept:
            continue
        said, truths = [wide.at[s, slot] for s in kept], [true[s] for s in kept]
        for name, figure in _figures(cider, embed).items():
            if name == "cider" and len(kept) < 2:
                continue
            value, chance = figure(said, truths)
            detail = f"{len(kept)} pictures with human captions"
            rows.append((name, "", slot, "", value, chance if len(kept) > 1 else _NONE, detail))
    return rows


_Figure = Callable[[list[str], list[list[str]]], tuple[float, float]]


def _figures(cider: Cider | None, embed: Embed | None) -> Mapping[str, _Figure]:
    """Name -> (said, true) -> the mean over pictures, and the mean with the next picture's truth."""

    def of_words(said: list[str], true: list[list[str]]) -> tuple[float, float]:
        return tuple(  # type: ignore[return-value]
            float(np.mean([max(token_f1(a, t) for t in ts) for a, ts in zip(said, own, strict=True)]))
            for own in (true, true[1:] + true[:1])
        )

    def of_cider(said: list[str], true: list[list[str]]) -> tuple[float, float]:
        assert cider is not None
        table = np.asarray(cider(said, true))
        return float(table.diagonal().mean()), float(np.roll(table, -1, axis=1).diagonal().mean())

    def of_clip(said: list[str], true: list[list[str]]) -> tuple[float, float]:
        assert embed is not None
        ours = unit(embed(said))
        theirs = np.split(unit(embed([t for ts in true for t in ts])), np.cumsum([len(ts) for ts in true])[:-1])
        return tuple(  # type: ignore[return-value]
            float(np.mean([(a @ b.T).max() for a, b in zip(ours, own, strict=True)]))
            for own in (theirs, theirs[1:] + theirs[:1])
        )

    figures: dict[str, _Figure] = {"token_f1": of_words}
    figures |= {} if cider is None else {"cider": of_cider}
    return figures | ({} if embed is None else {"clip": of_clip})


def token_f1(said: str, true: str) -> float:
    """F1 of the words of two captions, each counted as often as it comes; 0 to 1."""
    ours, theirs = Counter(words(said)), Counter(words(true))
    common = (ours & theirs).total()
    return 2 * common / (ours.total() + theirs.total()) if common else 0.0


def words(caption: str) -> list[str]:
    """Lower-case words without punctuation."""
    return _WORD.findall(caption.casefold())


def _text(cell: object) -> str:
    return clean(cell) if isinstance(cell, str) else ""
