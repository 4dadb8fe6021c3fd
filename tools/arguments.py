"""Writes docs/arguments.md: every argument of every registered class, with its range and its default.

python tools/arguments.py
"""

import inspect
import sys
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from phosphene.eeg.preprocessing import Preprocessing
from phosphene.encoders.autoencoder import Autoencoder
from phosphene.encoders.low_level import LOW_LEVEL
from phosphene.registry import PACKAGES, ArgumentsOf, classes, hints_of
from phosphene.runs.recipe import Evaluation
from phosphene.settings import Rule
from phosphene.training.settings import Stage

PAGE = Path(__file__).resolve().parents[1] / "docs" / "arguments.md"
HEAD = """# Arguments, and what they may be

Every argument of every part of a recipe, as the classes' signatures state it (`python tools/arguments.py` writes this
page). A value outside of its range is refused in one line before anything is read or computed, wherever it stands in a
recipe; so are NaN, infinity, and true or false in place of a number. What an argument means, its class says:
`help(phosphene.registry.find("encoder", "nice"))`.
"""
WORDS = {int: "whole number", float: "number", str: "text", bool: "true or false", Any: "anything", Path: "path"}
COMPARED = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


def said(hint: Any) -> str:
    """A type hint in words."""
    if get_origin(hint) is Annotated:
        base, *marks = get_args(hint)
        return ", ".join(filter(None, ["" if rules(marks) else said(base), *map(limits, marks)]))
    if get_origin(hint) in (Union, types.UnionType):
        parts = [part for part in get_args(hint) if part is not type(None)]
        return " or ".join([said(part) for part in parts] + (["null"] if type(None) in get_args(hint) else []))
    if get_origin(hint) is Literal:
        return ", ".join(str(value).lower() if isinstance(value, bool) else f"`{value}`" for value in get_args(hint))
    parts = [part for part in get_args(hint) if part is not Ellipsis]
    if get_origin(hint) is dict:
        return "mapping" if parts[1] is Any else f"mapping to {said(parts[1])}"
    if get_origin(hint) is tuple and Ellipsis not in get_args(hint):
        return f"[{'; '.join(map(said, parts))}]"
    if parts:
        held = said(parts[0])
        return f"list of ({held})" if "," in held else f"list of {held}"
    return WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def rules(marks: list[Any]) -> bool:
    return any(isinstance(mark, Rule) for mark in marks)


def limits(mark: Any) -> str:
    if isinstance(mark, Rule):
        return mark.words
    if isinstance(mark, ArgumentsOf):
        return f"arguments of `{mark.key}`"
    found = [
        (key, getattr(one, key)) for one in getattr(mark, "metadata", [mark]) for key in COMPARED if hasattr(one, key)
    ]
    least = [one.min_length for one in getattr(mark, "metadata", []) if hasattr(one, "min_length")]
    return ", ".join([f"{COMPARED[key]} {plain(value)}" for key, value in found] + [f"{n} or more" for n in least])


def plain(value: float) -> str:
    return f"{round(value):,}" if value == round(value) else f"{value:g}"


def rows(parameters: dict[str, tuple[Any, Any]]) -> list[str]:
    """Of name -> (type, default)."""
    lines = ["| argument | may be | default |", "|---|---|---|"]
    for name, (hint, default) in parameters.items():
        shown = "needed" if default is inspect.Parameter.empty else f"`{yaml_of(default)}`"
        lines.append(f"| `{name}` | {said(hint)} | {shown} |")
    return lines if len(lines) > 2 else ["None."]


def yaml_of(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(yaml_of, value))}]"
    return "''" if value == "" else f"{value:g}" if isinstance(value, float) else str(value)


def of_class(cls: Any) -> dict[str, tuple[Any, Any]]:
    hints = hints_of(cls)
    return {name: (hints.get(name, Any), p.default) for name, p in inspect.signature(cls).parameters.items()}


def of_settings(model: Any) -> dict[str, tuple[Any, Any]]:
    return {
        name: (Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation, field.default)
        for name, field in model.model_fields.items()
    }


def page() -> str:
    """The text of docs/arguments.md."""
    parts = [HEAD]
    for title, parameters in [
        ("preprocessing", of_class(Preprocessing)),
        ("training, and each of its stages", of_settings(Stage)),
        ("evaluation", of_settings(Evaluation)),
    ]:
        parts += [f"\n## {title}\n", *rows(parameters)]
    for kind in PACKAGES:
        for name, cls in classes(kind).items():
            parts += [f"\n## {kind} `{name}`\n", *rows(of_class(cls))]
    for name, cls in LOW_LEVEL.items():
        parts += [f"\n## low_level `{name}` of method `atm`\n", *rows(of_class(cls))]
    parts += ["\n## autoencoder of method `synapse`\n", *rows(of_class(Autoencoder))]
    return "\n".join(parts) + "\n"


def main() -> int:
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
