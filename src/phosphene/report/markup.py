"""Small pieces of HTML. Everything that is not made by `tag` is escaped by it, so no caller has to think of it."""

import base64
import html
import io
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from phosphene.errors import Damaged, PhospheneError
from phosphene.utils.checksums import intact
from phosphene.utils.pictures import open_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 128  # pixels to which larger pictures are shrunk
_VOID = {"img", "br", "meta", "link"}


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Content = str | Markup | Iterable["Content"] | None


def render(content: Content) -> Markup:
    """Content as HTML; plain text is escaped, None is nothing, several things follow each other."""
    if content is None:
        return Markup("")
    if isinstance(content, Markup):
        return content
    if isinstance(content, str):
        return Markup(html.escape(content))
    return Markup("".join(render(part) for part in content))


def tag(name: str, /, *content: Content, **attributes: Any) -> Markup:
    """One element: ``tag("p", "a < b", class_="note")``; an attribute that is None or False is left out."""
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        words.append(attribute if value is True else f'{attribute}="{html.escape(str(value))}"')
    opening = f"<{' '.join(words)}>"
    return Markup(opening if name in _VOID else f"{opening}{render(content)}</{name}>")


def table(
    head: Sequence[Content], rows: Iterable[Sequence[Content]], caption: Content = None, **attributes: Any
) -> Markup:
    """A table whose first row and first column are headers, in a box that scrolls when the page is narrow."""
    body = [
        tag("tr", tag("th", first, scope="row"), [tag("td", cell) for cell in rest]) for first, *rest in map(list, rows)
    ]
    inner = tag(
        "table",
        tag("caption", caption) if caption else None,
        tag("thead", tag("tr", [tag("th", cell, scope="col") for cell in head])),
        tag("tbody", body),
        **attributes,
    )
    return tag("div", inner, class_="scroll")


def details(summary: str, *content: Content) -> Markup:
    """Something that is folded away."""
    return tag("details", tag("summary", summary), *content)


def picture(path: str | Path, alt: str, size: int, class_: str | None = None, side: int = SIDE) -> Markup:
    """A picture inlined, ``size`` CSS pixels wide and high at most; a note in its place where the file is absent.

    ``side``: pixels to which a larger one is shrunk.
    """
    try:
        uri, width, height = _uri(str(intact(path, "remove it and run again")), side)
    except Damaged:
        raise
    except PhospheneError:
        return tag("span", "no picture", class_="absent", title=alt)
    scale = size / max(width, height)
    small = "pixel" if scale >= 1 else None
    classes = " ".join(c for c in (small, class_) if c) or None
    return tag(
        "img", src=uri, alt=alt, title=alt, width=round(width * scale), height=round(height * scale), class_=classes
    )


@lru_cache(maxsize=512)
def _uri(path: str, side: int) -> tuple[str, int, int]:
    """Data URI, width and height (pixels) of a picture file, shrunk to at most ``side``."""
    image = open_picture(path)
    small = max(image.size) <= side
    if not small:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    if small:
        image.save(file, "PNG", optimize=True)
    else:
        image.save(file, "JPEG", quality=85)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return f"data:image/{'png' if small else 'jpeg'};base64,{data}", *image.size


def drawing(figure: "Figure", name: str, alt: str, caption: Content) -> Markup:
    """A matplotlib figure as inline SVG that takes the page's colours and fonts.

    Parameters
    ----------
    name : unique in the page; keeps the figure's identifiers apart from those of others.
    alt : what is seen, for those who do not see it.
    """
    import matplotlib

    from phosphene.report.figures import COLOURS

    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(
            file, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
        )
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'\sid="([^"]+)"', rf' id="{name}-\1"', svg)
    svg = re.sub(r'(url\(|href=")#', rf"\1#{name}-", svg)
    svg = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", svg)
    svg = re.sub(r"font-family: [^;\"]*;?", "", svg)  # the page's own
    svg = re.sub(r"(font: [^;\"]*?px) [^;\"]*", r"\1 system-ui, sans-serif", svg)
    for variable, sentinel in COLOURS.items():
        svg = svg.replace(sentinel, f"var(--{variable})")
    svg = re.sub(r"<svg ([^>]*)>", rf'<svg \1 role="img" aria-label="{html.escape(alt)}">', svg, count=1)
    return tag("figure", Markup(svg), tag("figcaption", caption))
