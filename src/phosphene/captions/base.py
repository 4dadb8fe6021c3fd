"""The base of all captioners, and what becomes of an answer before it is kept."""

import inspect
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import pandas as pd
from PIL import Image

from phosphene.captions.slots import Slot
from phosphene.errors import PhospheneError
from phosphene.utils.paths import regular
from phosphene.utils.pictures import open_picture

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
LONGEST = 600  # characters of a caption


class Captioner(ABC):
    """Says something of each stimulus for each slot.

    Arguments of the constructor are JSON-able, are kept under their names, and hold no secret.
    """

    batch_size: int = 1  # stimuli whose captions are written together

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    @abstractmethod
    def identity(self) -> str:
        """What the column `model` says: another identity means other captions."""

    def check(self, stimuli: pd.DataFrame, slots: Sequence[Slot]) -> None:
        """Refuse at once what cannot be captioned; ``stimuli`` (n_stimuli, columns) is indexed by stimulus.

        Raises
        ------
        PhospheneError
            If the stimuli have no pictures, or one is missing.
        """
        if "image" not in stimuli:
            raise PhospheneError("the stimuli have no column 'image': add each picture's path to the stimulus table")
        for path in stimuli["image"]:
            regular(path, "is missing: restore it or drop its stimulus", "picture")

    def notice(self, stimuli: pd.DataFrame, slots: Sequence[Slot]) -> str:
        """What is sent, to whom and at what cost: a person agrees to it first. Empty where nothing leaves."""
        return ""

    def caption(self, stimuli: pd.DataFrame, slots: Sequence[Slot]) -> list[dict[str, str]]:
        """n_stimuli dictionaries, slot name -> caption."""
        return self.say([open_picture(path) for path in stimuli["image"]], slots)

    def say(self, images: Sequence[Image.Image], slots: Sequence[Slot]) -> list[dict[str, str]]:
        """The same of RGB pictures; what a captioner that looks at pictures alone defines.

        Raises
        ------
        PhospheneError
            If the captioner needs the stimuli's rows.
        """
        raise PhospheneError(f"{type(self).__name__} needs the stimulus table, not pictures alone: call caption")

    def total(self) -> str:
        """What it took in the end, in one line; empty where nothing was counted."""
        return ""


def clean(answer: object) -> str:
    """One plain line of at most 600 characters.

    Control, format and unassigned characters go, spaces become single, and quotes around the whole go too, as do the
    signs at the start that a spreadsheet would take for a formula.

    Raises
    ------
    PhospheneError
        If the answer is no text.
    """
    if not isinstance(answer, str):
        raise PhospheneError(f"a caption is {type(answer).__name__}, not text: write it in quotes")
    text = unicodedata.normalize("NFC", answer[: 4 * LONGEST])
    text = "".join(" " if c.isspace() else c for c in text if c.isspace() or unicodedata.category(c)[0] != "C")
    text = " ".join(text.split()).lstrip("=+-@* ")
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'`":
        text = text[1:-1].strip().lstrip("=+-@* ")
    return text[:LONGEST].rstrip()


def too_long(answer: object) -> bool:
    """Whether `clean` cuts an answer."""
    return isinstance(answer, str) and len(" ".join(answer.split())) > LONGEST
