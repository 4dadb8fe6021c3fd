"""Every number that a registered class takes has a range, and what lies outside of it is one line, by its own name."""

import inspect
import math
import runpy
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest

from phosphene import registry
from phosphene.eeg.preprocessing import Preprocessing
from phosphene.encoders.autoencoder import Autoencoder
from phosphene.encoders.low_level import LOW_LEVEL
from phosphene.errors import PhospheneError
from phosphene.registry import PACKAGES, checked, classes, hints_of

CLASSES = (
    {f"{kind} {name}": cls for kind in PACKAGES for name, cls in classes(kind).items()}
    | {f"low-level {name}": cls for name, cls in LOW_LEVEL.items()}
    | {"autoencoder": Autoencoder, "preprocessing": Preprocessing}
)


def bounds(hint: Any) -> list[Any]:
    """The limits of every number in a type hint; None for a number that has none."""
    if get_origin(hint) is Annotated:
        base, *marks = get_args(hint)
        if base in (int, float):
            return [{key: value for mark in marks for key, value in limits(mark).items()} or None]
    if hint in (int, float):
        return [None]
    return [found for part in get_args(hint) if not isinstance(part, str) for found in bounds(part)]


def limits(mark: Any) -> dict[str, float]:
    return {
        key: getattr(one, key)
        for one in getattr(mark, "metadata", [mark])
        for key in ("gt", "ge", "lt", "le")
        if hasattr(one, key)
    }


NUMBERS = [
    pytest.param(cls, key, hint, id=f"{name}: {key}")
    for name, cls in CLASSES.items()
    for key, hint in hints_of(cls).items()
    if key != "return" and bounds(hint) and key not in ("split", "null")  # a share beside names; filled by training
]


@pytest.mark.parametrize(("cls", "key", "hint"), NUMBERS)
def test_every_number_has_a_range_and_nothing_else_passes(cls, key, hint):
    for found in bounds(hint):
        assert found is not None, "a number without a range"
        assert found.keys() & {"gt", "ge"}
        assert found.keys() & {"lt", "le"}
    lowest = min(value for found in bounds(hint) for name, value in found.items() if name in ("gt", "ge"))
    listed = get_origin(plain(hint)) not in (None, int, float) and key in ("alphas", "widths", "tokens", "shape")
    for value in (math.nan, math.inf, -math.inf, True, 1e12, 10**12, lowest - 1):
        with pytest.raises(PhospheneError, match=f"a class: {key}: ") as error:
            checked(cls, {key: [value, value, value] if listed else value}, "a class")
        assert "\n" not in str(error.value)


def plain(hint: Any) -> Any:
    """A hint without its ranges and without None."""
    if get_origin(hint) is Annotated:
        return plain(get_args(hint)[0])
    others = [part for part in get_args(hint) if part is not type(None)]
    return plain(others[0]) if type(None) in get_args(hint) and len(others) == 1 else hint


@pytest.mark.parametrize("name", CLASSES)
def test_defaults_are_in_range(name):
    cls = CLASSES[name]
    known = {k: p.default for k, p in inspect.signature(cls).parameters.items() if p.default is not p.empty}
    checked(cls, known, name)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in PACKAGES for name in classes(kind)])
def test_a_class_is_found_by_the_module_that_registers_it(kind, name, monkeypatch):
    entry, cls = registry._classes[kind], classes(kind)[name]
    monkeypatch.delitem(entry, name)
    seen = []
    monkeypatch.setattr(
        "importlib.import_module", lambda module: seen.append(module) or __import__("sys").modules[module]
    )
    with pytest.raises(PhospheneError, match="unknown"):  # it is imported already and registers nothing again
        registry.find(kind, name)
    assert cls.__module__ == next(module for module in seen if module != PACKAGES[kind])


def test_the_page_of_arguments_is_up_to_date():
    root = Path(__file__).parents[2]
    page = runpy.run_path(str(root / "tools" / "arguments.py"))["page"]()
    assert (root / "docs" / "arguments.md").read_text(encoding="utf-8") == page, "run python tools/arguments.py"
