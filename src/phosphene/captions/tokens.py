"""How many tokens CLIP makes of a caption: by its tokenizer where one is at hand, else by a rule that errs upwards.

The rule: two for start and end; each started four letters of a word, each digit, each other sign, and each byte of a
letter beyond ASCII count one. CLIP's own vocabulary knows most words of up to eight letters as one token, so that the
rule says more than is true of nearly every caption: one that it calls too long may fit, hardly the other way round.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

_PIECE = re.compile(r"[^\W\d_]+|\S")

Count = Callable[[str], int]


def estimate(caption: str) -> int:
    """CLIP tokens of a caption by the rule of this module, start and end counted."""
    total = 2
    for piece in _PIECE.findall(caption):
        total += -(-len(piece) // 4) if piece.isascii() else len(piece.encode())
    return total


def counter(tokenizer: Any = None) -> Count:
    """How captions are counted: by a CLIP tokenizer (as `load_clip` gives), or by `estimate`."""
    return estimate if tokenizer is None else lambda caption: len(tokenizer(caption)["input_ids"])


def cut(captions: Sequence[str], tokenizer: Any, limit: int) -> tuple[list[str], int]:
    """The distinct captions of more than ``limit`` tokens, which a text encoder cuts; and how many become alike by it.

    Alike are captions that differ, though not in what is left of them.
    """
    distinct = list(dict.fromkeys(captions))
    if not distinct:
        return [], 0
    found = tokenizer(distinct, truncation=False, verbose=False)["input_ids"]
    long = [caption for caption, ids in zip(distinct, found, strict=True) if len(ids) > limit]
    if not long:
        return [], 0
    read = tokenizer(distinct, truncation=True, max_length=limit)["input_ids"]
    meant = defaultdict(list)
    for ids, whole in zip(read, found, strict=True):
        meant[tuple(ids)].append(tuple(whole))
    return long, sum(len(same) for same in meant.values() if len(set(same)) > 1)


def shortened_sentence(what: str, captions: Sequence[str], tokenizer: Any, limit: int) -> str:
    """The same as a sentence; empty where no caption is cut.

    >>> shortened_sentence("prompts", [], None, 77)
    ''
    """
    long, alike = cut(captions, tokenizer, limit)
    if not long:
        return ""
    same = f"; {alike} become alike by it" if alike else ""
    return (
        f"{what}: {len(long)} of {len(set(captions))} distinct captions are longer than the {limit} tokens that the "
        f"text encoder reads and are cut{same}; the first: {' '.join(long[0].split())[:60].rstrip()}"
    )
