"""Which concepts of THINGS are animate, by THINGS' own table of categories.

Design rationale
----------------
The audit asks whether a category of two values is read from concepts that training never saw, so every concept needs
one of two. Animate is what the table calls an animal (its birds, insects, mammals and sea animals all are), and people,
for whom it has no category. Plants, parts of the body and food stay on the other side. The ratings of THINGS ("lives")
were not taken: above the middle of their scale lie acorn, bark and wood.
"""

from pathlib import Path

import pandas as pd

from phosphene.errors import PhospheneError, nearest
from phosphene.utils.paths import regular

PEOPLE = frozenset({"baby", "boy", "girl", "man", "woman"})
_TABLES = "*fixedUniqueID.tsv"


def with_category(stimuli: pd.DataFrame, root: Path, concepts: str | None) -> pd.DataFrame:
    """``stimuli`` with a column `category`, "animate" or "inanimate"; as they are where ``concepts`` is None.

    Parameters
    ----------
    stimuli : a row for each picture, with `concept`.
    root : what ``concepts`` is relative to.
    concepts : the table of categories by unique id, or a folder with it.

    Raises
    ------
    PhospheneError
        Missing or foreign table, or a concept that it does not name.
    """
    if concepts is None:
        return stimuli
    path = _table(root / Path(concepts).expanduser())
    animate = _animate(path)
    lost = sorted(set(stimuli["concept"]) - set(animate))
    if lost:
        raise PhospheneError(
            f"{path} does not name concept '{lost[0]}': {nearest(lost[0], animate)} (give the pictures their names "
            "with dataset.images or dataset.names, or set dataset.concepts to null)"
        )
    return stimuli.assign(category=["animate" if animate[c] else "inanimate" for c in stimuli["concept"]])


def _table(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = sorted(path.glob(f"**/{_TABLES}"))
    if not found:
        raise PhospheneError(f"{path} holds no {_TABLES}: set dataset.concepts to THINGS' table of categories")
    return found[0]


def _animate(path: Path) -> dict[str, bool]:
    """Concept -> whether it is animate."""
    regular(path, "is missing: set dataset.concepts to THINGS' categories")
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, encoding="utf-8")
    except (OSError, ValueError) as error:
        line = str(error).splitlines()[0]
        raise PhospheneError(f"{path} cannot be read ({line}): set dataset.concepts to THINGS' categories") from None
    if not {"uniqueID", "animal"} <= set(table):
        raise PhospheneError(
            f"{path} has no columns uniqueID and animal: set dataset.concepts to {_TABLES}, THINGS' categories by id"
        )
    names = [str(name).strip().replace(" ", "_") for name in table["uniqueID"]]  # the table writes blanks
    animal = table["animal"].notna()
    return {name: bool(is_animal) or name in PEOPLE for name, is_animal in zip(names, animal, strict=True)}
