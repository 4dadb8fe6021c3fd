"""How many tokens CLIP makes of a caption: by its tokenizer where one is at hand, else by a rule that errs upwards.

The rule: two for start and end; each started four letters of a word, each digit, each other sign, and each byte of a
letter beyond ASCII count one. CLIP's own vocabulary knows most words of up to eight letters as one token, so that the
rule says more than is true of nearly every caption: one that it calls too long may fit, hardly the other way round.
"""

import re
from collections.abc import Callable
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
