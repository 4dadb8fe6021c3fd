"""Opening pictures: of few formats, of bounded size, always upright, on white and as RGB of 8 bits."""

import struct
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from phosphene.errors import PhospheneError
from phosphene.utils.paths import regular

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")  # no others, some of which call programs
LARGEST = 40_000_000  # pixels of a picture
#: what undoes each EXIF orientation; 1, the upright one, and those that do not exist leave a picture as it is
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_DARK = 1 / 16  # of the range of 16 bits: 12-bit values in a 16-bit file are below it


def open_picture(path: str | Path) -> Image.Image:
    """A picture as RGB, upright as its EXIF orientation says; of several frames the first, transparency on white.

    Grey of 16 bits is scaled to 8. Grey of 32 bits and floats is read by its range: floats from 0 to 1; 0 to 255; whole
    numbers to 65535.

    Raises
    ------
    PhospheneError
        If it is missing, no regular file, no picture, damaged, of over 40 megapixels, or of values in no such range.
    """
    return _read(path)[0]


def upright(image: Image.Image) -> Image.Image:
    """A picture in memory as `open_picture` gives it; one that is so already is returned as it is.

    Raises
    ------
    PhospheneError
        For values in no range that is read.
    """
    if image.mode == "RGB" and not image.info and type(image) is Image.Image:
        return image
    return _plain(image, "a picture")[0]


def picture_notes(paths: Iterable[str | Path]) -> list[str]:
    """What a user should know of how these pictures are read; a picture whose header tells nothing odd is not decoded.

    Raises
    ------
    PhospheneError
        For a picture whose values are in no range that is read. One that is missing or damaged is left to its reader.
    """
    odd: Counter[str] = Counter()
    n = 0
    for path in dict.fromkeys(map(str, paths)):
        n += 1
        odd.update(oddities(path))
    told = {
        "turned": "have an EXIF orientation and are turned upright, as image viewers show them (if your stimulus "
        "program did not turn them, save them without it)",
        "deep": "have more than 8 bits a channel and are scaled to 8",
        "dark": "have more than 8 bits and use less than a sixteenth of their range: they are read as dark as they are "
        "stored (scale 8- or 12-bit values before saving them)",
        "frames": "have several frames, of which the first is taken",
    }
    return [f"{odd[what]} of {n} pictures {text}" for what, text in told.items() if odd[what]]


def oddities(path: str | Path) -> set[str]:
    """How a picture is read otherwise than its pixels are stored: "turned", "deep", "dark", "frames"; none as a rule.

    Raises
    ------
    PhospheneError
        For a picture whose values are in no range that is read.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(regular(path), formats=FORMATS) as image:
            found = {"frames"} if getattr(image, "is_animated", False) and image.format != "MPO" else set()
            if not (_deep(image) or _may_be_turned(image, Path(path))):
                return found
    except Exception:  # its reader will say what is wrong with it
        return set()
    return found | _read(path)[1]


def _read(path: str | Path) -> tuple[Image.Image, set[str]]:
    regular(path, "is missing: restore it or drop its stimulus", "picture")
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > LARGEST:
                raise PhospheneError(
                    f"picture {path} is {image.width} x {image.height}: shrink it to below 40 megapixels"
                )
            return _plain(image, f"picture {path}")
    except PhospheneError:
        raise
    except UnidentifiedImageError:
        raise PhospheneError(
            f"picture {path} cannot be read: it is damaged, or none of {', '.join(FORMATS)}; save it as PNG"
        ) from None
    except Exception as error:  # whatever a damaged or hostile picture leads its decoder to
        raise PhospheneError(f"picture {path} cannot be read ({error}): replace the file") from None


def _plain(image: Image.Image, name: str) -> tuple[Image.Image, set[str]]:
    """RGB of 8 bits, upright, on white, and what was odd; ``name`` begins an error."""
    deep = _deep(image)  # first: what follows may load the picture
    odd = {"turned"} if _orientation(image) in _UPRIGHT else set()
    image.load()  # TIFF is turned by this
    turn = _UPRIGHT.get(_orientation(image))
    if image.mode.startswith(("I", "F")):
        plain, brightest = _eight_bits(image, name)
    else:
        plain, brightest = _on_white(image), None
    if turn is not None:
        plain = plain.transpose(turn)
        odd.add("turned")
    if deep:
        odd.add("deep")
        if brightest is None:
            brightest = max(high for _, high in plain.getextrema()) / 255  # type: ignore[misc]
        if brightest < _DARK:
            odd.add("dark")
    plain.info.clear()  # the orientation above all: it is obeyed
    return plain, odd


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode not in ("RGBA", "LA", "PA", "La", "RGBa") and "transparency" not in image.info:
        return image.convert("RGB")
    clear = image.info.get("transparency")
    if isinstance(clear, tuple) and max(clear) > 255:  # of 16 bits, where the pixels are read as 8
        image = image.copy()
        image.info["transparency"] = tuple(value >> 8 for value in clear)
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _eight_bits(image: Image.Image, name: str) -> tuple[Image.Image, float]:
    """Grey of more than 8 bits as RGB, and its brightest value, 1 for white."""
    values = np.asarray(image).astype(np.float64)
    tags: Any = getattr(image, "tag_v2", {})
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(values).all():
        raise PhospheneError(f"{name} holds NaN or infinity: fill in such values, and save it as 8 bits")
    if image.mode.startswith("I;16"):
        white = float(2 ** tags.get(258, (16,))[0] - 1)  # 4095 of a TIFF of 12 bits
        if tags.get(262) == 0:  # white is zero
            values, low, high = white - values, white - high, white - low
        if 0 < high <= white / 257:
            raise PhospheneError(
                f"{name} has 16 bits and no value above {high:g} of {white:g}, which is black: save it as 8 bits"
            )
    elif image.mode == "F" and low >= -1e-3 and high <= 1.001:
        white = 1.0
    elif (low >= -0.5 and 16 <= high < 255.5) or low == high == 0:
        white = 255.0
    elif image.mode != "F" and low >= 0 and 255 < high <= 65535:
        white = 65535.0
    else:
        ranges = "0 to 1 or 0 to 255" if image.mode == "F" else "0 to 255 or 0 to 65535"
        raise PhospheneError(
            f"{name} has values from {low:.4g} to {high:.4g}, of which neither black nor white is known: scale it to "
            f"{ranges}, or save it as 8 bits"
        )
    clear = image.info.get("transparency")
    grey = np.rint(np.clip(values / white, 0, 1) * 255).astype(np.uint8)
    if isinstance(clear, int):
        grey[values == clear] = 255
    return Image.fromarray(grey).convert("RGB"), high / white


def _deep(image: Image.Image) -> bool:
    """Whether a channel has more than 8 bits; known until the picture is loaded."""
    stored = [str(part) for tile in getattr(image, "tile", []) for part in (tile[0], tile[3])]
    return image.mode.startswith(("I", "F")) or any(";16" in part for part in stored)


def _orientation(image: Image.Image) -> int:
    """EXIF's; 1 where there is none, or what stands there cannot be read."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # whatever damaged EXIF leads to; the picture may be sound
        return 1
    return value if isinstance(value, int) else 1


def _may_be_turned(image: Image.Image, path: Path) -> bool:
    """From the header alone."""
    if image.format != "PNG" or "exif" in image.info:
        return _orientation(image) in _UPRIGHT
    if {"Raw profile type exif", "XML:com.adobe.xmp"} & image.info.keys():
        return True
    with path.open("rb") as file:  # EXIF may stand behind the pixels, which are stepped over
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"eXIf":
                return True
            file.seek(length + 4, 1)
    return False
