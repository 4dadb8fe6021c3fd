"""Caption slots: what is said of a picture, and at which level (arXiv 2507.07157, section 3)."""

from typing import NamedTuple


class Slot(NamedTuple):
    """One kind of caption; its name is the column of the stimulus table."""

    name: str
    level: str


SLOTS = (Slot("ObjectSnap", "object"), Slot("SpatialLink", "spatial"), Slot("ThemeTag", "thematic"))
