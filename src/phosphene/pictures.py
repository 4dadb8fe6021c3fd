"""Opening pictures: of few formats, of bounded size, always as RGB."""

from pathlib import Path

from PIL import Image

from phosphene.errors import PhospheneError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")  # no others, some of which call programs
LARGEST = 40_000_000  # pixels of a picture


def open_picture(path: str | Path) -> Image.Image:
    """A picture as RGB; transparency is laid on white.

    Raises
    ------
    PhospheneError
        If it is missing, no picture, damaged, or of over 40 megapixels.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > LARGEST:
                raise PhospheneError(
                    f"picture {path} is {image.width} x {image.height}: shrink it to below 40 megapixels"
                )
            if image.mode not in ("RGBA", "LA", "PA") and "transparency" not in image.info:
                return image.convert("RGB")
            layer = image.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    except FileNotFoundError:
        raise PhospheneError(f"picture {path} is missing: restore it or drop its stimulus") from None
    except PhospheneError:
        raise
    except Exception as error:  # whatever a damaged or hostile picture leads its decoder to
        raise PhospheneError(f"picture {path} cannot be read ({error}): replace the file") from None
