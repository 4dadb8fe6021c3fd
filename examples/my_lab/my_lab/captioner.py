"""A captioner: how light a picture is."""

from collections.abc import Sequence

from PIL import Image, ImageStat

from phosphene.captions.base import Captioner
from phosphene.captions.slots import Slot
from phosphene.registry import register


@register("captioner", "brightness")
class Brightness(Captioner):
    """Says "dark" or "light" of each picture, whatever the slot.

    Parameters
    ----------
    threshold : grey level, 0 to 255, from which a picture is light.
    """

    def __init__(self, threshold: float = 128.0):
        self.threshold = threshold

    def identity(self) -> str:
        return f"brightness {self.threshold:g}"

    def say(self, images: Sequence[Image.Image], slots: Sequence[Slot]) -> list[dict[str, str]]:
        grey = [ImageStat.Stat(image.convert("L")).mean[0] for image in images]
        return [{slot.name: "light" if level >= self.threshold else "dark" for slot in slots} for level in grey]
