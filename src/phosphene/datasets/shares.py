"""A share of names as the test part: spread evenly over groups, and fixed by the names alone."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping


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
