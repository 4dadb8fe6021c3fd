"""What a grid file holds, checked before anything starts."""

import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from phosphene.errors import PhospheneError, nearest
from phosphene.runs.recipe import Recipe
from phosphene.utils.files import parse_yaml
from phosphene.utils.paths import folder_name, is_regular, regular

SHIPPED = {path.stem: path for path in sorted((Path(__file__).parent / "shipped").glob("*.yaml"))}


class Cell(NamedTuple):
    """One run of a grid; ``folder`` is its name under the grid's folder, ``seed`` None where the grid names none."""

    variant: str
    seed: int | None
    folder: str
    recipe: Recipe


class Grid(BaseModel):
    """What a grid file holds.

    Parameters
    ----------
    name, description : what the table is headed with.
    recipe : the name of a shipped recipe, a path (from the grid file, or from here), or a recipe written out.
    set : dotted overrides of every variant.
    variants : dotted overrides of each; they come after ``set``. None and {} change nothing.
    reference : the variant that the others are compared with; the first by default.
    seeds : every variant is run with each as `protocol.seed`; None runs each once, with the seed of its recipe.
    metrics : the columns of the table, names of `scores.csv`; None takes the headline scores.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str = ""
    recipe: str | dict[str, Any]
    set: dict[str, Any] = Field(default_factory=dict)
    variants: dict[str, dict[str, Any] | None] = Field(min_length=1)
    reference: str = ""
    seeds: list[int] | None = Field(None, min_length=1)
    metrics: list[str] | None = Field(None, min_length=1)

    @field_validator("variants")
    @classmethod
    def _folders(cls, variants: dict[str, Any]) -> dict[str, Any]:
        for name in variants:
            folder_name(name, "variant")
        return variants

    @classmethod
    def read(cls, source: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> Self:
        """A grid from a file, from the name of a shipped one, or from the same as a mapping.

        Parameters
        ----------
        overrides : dotted keys of the recipe, for every variant; they come after the file's ``set``.

        Raises
        ------
        PhospheneError
            Unreadable file, unknown key (with the nearest valid one), value of the wrong kind, unknown reference.
        """
        if isinstance(source, Mapping):
            values, origin, folder = dict(source), "the grid", Path()
        else:
            path, origin = Path(source), str(source)
            path = path if is_regular(path) else SHIPPED.get(str(source), path)
            regular(path, f"does not exist: {nearest(path.stem, SHIPPED)} (or give a path)", "grid")
            try:
                values, folder = parse_yaml(path.read_text(encoding="utf-8")), path.parent
            except ValueError as error:
                raise PhospheneError(f"{path} is not readable YAML: {error}") from None
            if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
                raise PhospheneError(f"{path} is not a grid: it must hold keys such as recipe and variants")
        try:
            grid = cls(**values)
        except ValidationError as error:
            raise PhospheneError(f"{origin}: {_first(error)}") from None
        beside = folder / grid.recipe if isinstance(grid.recipe, str) else folder
        changes: dict[str, Any] = {"set": {**grid.set, **(overrides or {})}, "reference": grid.reference}
        if is_regular(beside):
            changes["recipe"] = str(beside)
        if not grid.reference:
            changes["reference"] = next(iter(grid.variants))
        elif grid.reference not in grid.variants:
            raise PhospheneError(
                f"{origin}: unknown reference '{grid.reference}': {nearest(grid.reference, grid.variants)}"
            )
        if len(set(grid.seeds or ())) < len(grid.seeds or ()):
            raise PhospheneError(f"{origin}: seeds {grid.seeds} hold one twice: name each once")
        return grid.model_copy(update=changes)

    def cells(self) -> list[Cell]:
        """Every run, its recipe checked.

        Raises
        ------
        PhospheneError
            Names the variant whose recipe is wrong, and the fix.
        """
        found: list[Cell] = []
        for variant, own in self.variants.items():
            changes = {"name": f"{self.name}/{variant}", **self.set, **(own or {})}
            if self.seeds and "protocol.seed" in changes:
                raise PhospheneError(f"variant '{variant}': protocol.seed is set beside seeds: leave one of them out")
            seeds: Sequence[int | None] = self.seeds or [None]
            for seed in seeds:
                last = {} if seed is None else {"protocol.seed": seed}
                try:
                    recipe = Recipe.read(self.recipe, {**changes, **last})
                except PhospheneError as error:
                    raise PhospheneError(f"variant '{variant}': {error}") from None
                found.append(Cell(variant, seed, variant if seed is None else f"{variant}-seed{seed}", recipe))
        names = [cell.folder.casefold() for cell in found]
        twice = [cell.folder for cell in found if names.count(cell.folder.casefold()) > 1]
        if twice:
            raise PhospheneError(f"two runs would share the folder '{twice[0]}': rename one of the variants")
        return found


def _first(error: ValidationError) -> str:
    """The first fault as one line with its fix."""
    fault = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")  # a misspelt key explains others
    where = [str(part) for part in fault["loc"]]
    if fault["type"] == "extra_forbidden":
        return f"unknown key '{where[0]}': {nearest(where[0], Grid.model_fields)}"
    if fault["type"] == "missing":
        return f"key '{where[0]}' is missing: add it"
    given = reprlib.repr(fault["input"])
    said = fault["msg"].removeprefix("Value error, ")
    return f"{where[0]}: {said}" + ("" if fault["type"] == "value_error" else f" (given: {given})")
