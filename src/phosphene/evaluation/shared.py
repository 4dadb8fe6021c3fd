"""What test trials share with training: the picture, by each of its identities, or by design the whole set of them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from phosphene.eeg.trials import Trials
from phosphene.evaluation.protocols import LEAKY, Fold
from phosphene.utils.duplicates import KINDS, SamePictures, same_pictures

#: what a picture is called that was trained on under another name
SAID = {
    "bytes": "the same file",
    "pixels": "the same pixels in another file",
    "near_duplicate": "near-duplicates (compressed again, resized, cropped or mirrored)",
}
_LOST = 0.1  # share of a closed set that a part may have lost with dropped trials


class Shared(NamedTuple):
    """Of all folds together.

    Parameters
    ----------
    n : test trials.
    by : test trials whose picture was trained on, by the first that applies of "stimulus" (its name) and `KINDS`.
    closed : how many pictures there are, where training and test show the same ones by design; else 0.
    unread : stimuli of which only name and path are known, as their pictures cannot be opened.
    """

    n: int
    by: dict[str, int]
    closed: int
    unread: int

    @property
    def total(self) -> int:
        """Test trials whose picture was trained on."""
        return sum(self.by.values())

    def said(self) -> str:
        """In words, with counts."""
        under = [f"{count:,} {SAID[kind]}" for kind, count in self.by.items() if kind != "stimulus" and count]
        if self.closed:
            text = f"closed set of {self.closed:,} pictures: known ones are told apart, nothing is claimed of new ones"
        elif not self.total:
            text = "no"
        else:
            parts = [f"{self.by['stimulus']:,} by name"] if self.by["stimulus"] else []
            parts += [f"under another name {', '.join(under)}"] if under else []
            text = f"test pictures were trained on: {'; '.join(parts)}"
        if self.unread:
            text += f" ({self.unread:,} pictures cannot be opened: they are known by name and path alone)"
        return text


def shared_pictures(trials: Trials, folds: Sequence[Fold], same: SamePictures | None = None) -> Shared:
    """How many test trials show a picture of the training, whatever it is called there."""
    names = trials.table["stimulus"].to_numpy(str)
    same = same_pictures(trials.stimuli, set(names)) if same is None else same
    by = dict.fromkeys(("stimulus", *KINDS), 0)
    for fold in folds:
        trained, left = set(names[fold.train]), names[fold.test]
        for kind in by:
            known = trained if kind == "stimulus" else same.of(kind, trained)
            again = np.isin(left, sorted(known)) if known else np.zeros(len(left), bool)
            by[kind] += int(again.sum())
            left = left[~again]
    return Shared(int(sum(fold.test.sum() for fold in folds)), by, closed_set(trials, folds), len(same.unread))


def closed_set(trials: Trials, folds: Sequence[Fold]) -> int:
    """How many pictures there are if every fold tests the very ones it trains on, by design; else 0.

    In every fold and for every subject tested, the test pictures are pictures of the training (with its validation
    part), by name, and these are the test pictures but for a few that went with dropped trials. Random test trials
    are no such design.
    """
    table = trials.table
    names, subjects = table["stimulus"].to_numpy(str), table["subject"].to_numpy(str)
    found: set[str] = set()
    for fold in folds:
        if fold.name == LEAKY:
            return 0
        rest = fold.train | fold.val
        for subject in set(subjects[fold.test]):
            own = rest & (subjects == subject)
            tested, known = set(names[fold.test & (subjects == subject)]), set(names[own if own.any() else rest])
            allowed = max(_LOST * len(known), 1 if len(known) > 2 else 0)
            if not tested <= known or len(known - tested) > allowed:
                return 0
            found |= tested
    return len(found)
