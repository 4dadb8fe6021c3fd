"""Small pieces of HTML. Whatever comes from data is escaped here, and nowhere else."""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
from PIL import Image


class Raw(str):
    """Markup that is already safe."""

    __slots__ = ()


def safe(value: Any) -> Raw:
    """Text as markup; markup stays."""
    return value if isinstance(value, Raw) else Raw(escape(str(value)))


def tag(name: str, *content: Any, **attributes: Any) -> Raw:
    """``<name attributes>content</name>``; ``cls`` is the class, None leaves an attribute out."""
    names = {"cls": "class"}
    given = "".join(f' {names.get(k, k)}="{escape(str(v))}"' for k, v in attributes.items() if v is not None)
    if name in ("img", "meta"):
        return Raw(f"<{name}{given}>")
    return Raw(f"<{name}{given}>{''.join(safe(c) for c in content)}</{name}>")


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]], numeric: Sequence[int] = (), caption: str = "") -> Raw:
    """A table with a header row; columns ``numeric`` are aligned right."""

    def cell(kind: str, i: int, value: Any) -> Raw:
        if isinstance(value, Raw) and value.startswith("<td"):
            return value
        return tag(kind, value, cls="n" if i in numeric else None, scope="col" if kind == "th" else None)

    body = [tag("tr", *(cell("td", i, v) for i, v in enumerate(row))) for row in rows]
    header = tag("thead", tag("tr", *(cell("th", i, v) for i, v in enumerate(head))))
    title = [tag("caption", caption, cls="note")] if caption else []
    return tag("div", tag("table", *title, header, tag("tbody", *body)), cls="wide")


def picture(image: Image.Image, alt: str, cls: str = "px", side: int = 96) -> Raw:
    """An inlined picture, at most ``side`` pixels wide."""
    if max(image.size) > side:
        image = image.copy()
        image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PNG")
    return tag("img", src=_data(buffer.getvalue(), "image/png"), alt=alt, cls=cls)


def figure(drawn: Any, alt: str, caption: str) -> Raw:
    """A matplotlib figure, inlined as PNG with its caption."""
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", dpi=130, bbox_inches="tight")
    image = tag("img", src=_data(buffer.getvalue(), "image/png"), alt=alt)
    return tag("figure", image, tag("figcaption", caption))


def number(value: float, digits: int = 3) -> str:
    """A score as text; blank where there is none."""
    if value is None or not np.isfinite(value):
        return ""
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.{digits}f}"


def p_value(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _data(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
