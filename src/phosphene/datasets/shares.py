"""A share of names as the test part: spread evenly over groups, and fixed by the names alone."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pandas as pd

_MANY = {"stimulus": "stimuli", "concept": "concepts"}


def drawn(group_of: Mapping[str, str], share: float) -> list[str]:
    """The names of the test part.

    As many of each group as its share of them, so that every group of two or more names keeps some for either part.
    The whole is as near to ``share`` as that allows. What is alone in its group is drawn last: it stays in the training
    part unless the others are too few. Where every name is alone, the draw is from all of them.

    Parameters
    ----------
    group_of : name -> its group.
    share : of all names, above 0 and below 1.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for name in sorted(group_of, key=_place):
        groups[group_of[name]].append(name)
    several = {group: names for group, names in groups.items() if len(names) > 1}
    alone = [names[0] for names in groups.values() if len(names) == 1]
    alone.sort(key=_place)
    count = round(share * len(group_of))
    if len(groups) == 1:
        return next(iter(groups.values()))[:count]
    taken = _shares({group: len(names) for group, names in several.items()}, share, count)
    chosen = [name for group, n in taken.items() for name in several[group][:n]]
    return chosen + alone[: max(0, count - len(chosen))]


def unmet(table: pd.DataFrame, split: Any) -> list[str]:
    """How far a share that was asked for is missed, in a sentence; none where it is met or no share was asked for.

    Parameters
    ----------
    table : the trial table.
    split : a column, or a rule: see `shown.split_column`.
    """
    if not isinstance(split, Mapping) or len(split) != 1:
        return []
    ((column, share),) = split.items()
    if column not in _MANY or isinstance(share, bool) or not isinstance(share, int | float):
        return []
    total, tested = table[column].nunique(), table[column][table["split"] == "test"].nunique()
    if abs(tested - share * total) <= 1:
        return []
    group = "concept" if column == "stimulus" else "category"
    return [
        f"split asks for {100 * share:g} % of the {_MANY[column]}, but {tested} of {total} are in the test set: each "
        f"{group} with two or more keeps some in both sets"
    ]


def _shares(sizes: Mapping[str, int], share: float, count: int) -> dict[str, int]:
    """How many of each group, one at least and one fewer than all at most: ``count`` together where that can be."""
    taken = {group: min(max(int(share * size), 1), size - 1) for group, size in sizes.items()}
    owed = {group: share * size - taken[group] for group, size in sizes.items()}
    order = sorted(owed, key=lambda group: (-round(owed[group], 9), _place(group)))
    while sum(taken.values()) < count:
        open_groups = [group for group in order if taken[group] < sizes[group] - 1]
        if not open_groups:
            break
        for group in open_groups[: count - sum(taken.values())]:
            taken[group] += 1
    while sum(taken.values()) > count:
        spare = [group for group in reversed(order) if taken[group] > 1]
        if not spare:
            break
        for group in spare[: sum(taken.values()) - count]:
            taken[group] -= 1
    return taken


def _place(name: str) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()
