"""Caption slots: what is said of a picture, and at which level (arXiv 2507.07157, section 3).

The paper has ten captions per picture and three levels. `ObjectSnap`, `SpatialLink` and `ThemeTag` are its names; the
other seven slots are ours.
"""

from typing import NamedTuple


class Slot(NamedTuple):
    """One kind of caption; its name is the column of the stimulus table."""

    name: str
    level: str
    ours: bool = True


SLOTS = (
    Slot("ObjectSnap", "object", ours=False),
    Slot("KindName", "object"),
    Slot("ColourNote", "object"),
    Slot("SurfaceNote", "object"),
    Slot("SpatialLink", "spatial", ours=False),
    Slot("LayoutPlan", "spatial"),
    Slot("PlaceView", "spatial"),
    Slot("ThemeTag", "thematic", ours=False),
    Slot("LightHour", "thematic"),
    Slot("MoodWord", "thematic"),
)

NAMED = tuple(slot for slot in SLOTS if not slot.ours)  # one of each level
