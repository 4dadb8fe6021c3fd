"""Captions of pictures, as data: what is asked (slots), who says it (captioners), the table, and its quality.

Ten captions on three levels are the idea of arXiv 2507.07157, section 3. `ObjectSnap`, `SpatialLink` and `ThemeTag` are
its names; the other seven, and every prompt, are ours.

Design rationale
----------------
- Captions are a table, made once and read from then on. Nothing that trains asks a model.
- A captioner takes the stimulus table, as a target does: two of four need a row of it, not the picture.
- CIDEr and CLIP come to `check` as arguments, since they live in layers above this one.
"""

from phosphene.captions.base import Captioner, clean
from phosphene.captions.contradictions import Contradiction, contradictions
from phosphene.captions.join import CaptionTable
from phosphene.captions.quality import check, lines
from phosphene.captions.slots import CLIP_TOKENS, LEVEL_OF, LEVELS, NAMED, SLOTS, Slot, SlotName, choose, read_slots
from phosphene.captions.store import Captions, write
from phosphene.captions.tables import pictures_in, read_stimuli

__all__ = [
    "CLIP_TOKENS",
    "LEVELS",
    "LEVEL_OF",
    "NAMED",
    "SLOTS",
    "CaptionTable",
    "Captioner",
    "Captions",
    "Contradiction",
    "Slot",
    "SlotName",
    "check",
    "choose",
    "clean",
    "contradictions",
    "lines",
    "pictures_in",
    "read_slots",
    "read_stimuli",
    "write",
]
