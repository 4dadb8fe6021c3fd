"""A share for the test part: every group keeps some of either part, the whole is as near as can be, names decide."""

import hashlib

import numpy as np
import pandas as pd
import pytest

from phosphene import from_arrays
from phosphene.datasets.shares import drawn
from phosphene.datasets.stimulus_tables import split_column


def stimuli(sizes, **columns):
    """Concepts of so many pictures each."""
    names = [f"c{i}/{k}" for i, n in enumerate(sizes) for k in range(n)]
    table = pd.DataFrame({"concept": [n.split("/")[0] for n in names]}, index=pd.Index(names, name="stimulus"))
    return table.assign(**columns)


def parts(table, split):
    events = pd.DataFrame({"stimulus": table.index})
    return split_column(events, table, split, "the events").set_axis(table.index)


def counts(sizes, share):
    chosen = parts(stimuli(sizes), {"stimulus": share}) == "test"
    return chosen.groupby(chosen.index.str.split("/").str[0]).sum().tolist()


@pytest.mark.parametrize(
    ("sizes", "share", "count"),
    [
        ([10] * 5, 0.2, [2] * 5),  # as many of each
        ([10, 20, 30], 0.1, [1, 2, 3]),
        ([10] * 4, 0.5, [5] * 4),
        ([2] * 10, 0.5, [1] * 10),
        ([2] * 10, 0.3, [1] * 10),  # one of each, though that is half
        ([3] * 4, 0.9, [2] * 4),  # one is kept for the training
        ([50, 2], 0.2, [9, 1]),  # together a fifth of 52
        ([10, 1, 10], 0.2, [2, 0, 2]),  # what is alone stays in training
    ],
)
def test_every_concept_keeps_pictures_of_either_part(sizes, share, count):
    assert counts(sizes, share) == count


@pytest.mark.parametrize(("sizes", "share"), [([5] * 7, 0.23), ([7, 9, 4, 12], 0.37), ([6] * 11, 0.31), ([4, 40], 0.6)])
def test_the_whole_is_as_near_as_can_be(sizes, share):
    found = counts(sizes, share)
    assert sum(found) == round(share * sum(sizes))
    assert all(abs(n - share * size) < 1 for n, size in zip(found, sizes, strict=True))


@pytest.mark.parametrize("sizes", [[1] * 20, [20]])
def test_where_nothing_can_be_spread_names_alone_decide(sizes):
    table = stimuli(sizes)
    order = sorted(table.index, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    assert set(order[:6]) == set(table.index[parts(table, {"stimulus": 0.3}) == "test"])


def test_what_is_alone_is_taken_where_the_others_are_too_few():
    sizes = [2, *[1] * 18]
    assert sum(counts(sizes, 0.3)) == 6
    assert counts(sizes, 0.3)[0] == 1


def test_concepts_are_spread_over_their_categories():
    table = stimuli([2] * 20, category=["animal"] * 8 + ["tool"] * 32)  # 4 and 16 concepts
    chosen = set(table["concept"][parts(table, {"concept": 0.25}) == "test"])
    animals = {f"c{i}" for i in range(4)}
    assert (len(chosen & animals), len(chosen - animals)) == (1, 4)
    plain = set(table["concept"][parts(table.drop(columns="category"), {"concept": 0.25}) == "test"])
    order = sorted(set(table["concept"]), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    assert plain == set(order[:5])


def test_names_decide_and_their_order_does_not():
    table = stimuli([6, 9, 5], category="x")
    shuffled = table.sample(frac=1, random_state=3)
    for rule in ({"stimulus": 0.4}, {"concept": 0.4}):
        assert parts(table, rule).to_dict() == parts(shuffled, rule).to_dict()


def test_a_share_never_draws_a_name_twice():
    group_of = {f"n{i}": f"g{i % 7}" for i in range(100)} | {f"m{i}": f"h{i}" for i in range(30)}
    for share in (0.1, 0.3, 0.75):
        chosen = drawn(group_of, share)
        assert len(chosen) == len(set(chosen))
        assert len(chosen) == round(share * 130)


@pytest.mark.parametrize(("share", "told"), [(0.5, 0), (0.3, 1), (0.9, 1)])
def test_a_share_that_cannot_be_met_is_noted(share, told):
    names = [f"c{i}/{k}" for i in range(10) for k in range(2)]
    pictures = pd.DataFrame({"stimulus": names, "concept": [n.split("/")[0] for n in names]})
    trials = from_arrays(
        np.random.default_rng(0).normal(0, 1e-5, (20, 2, 8)),
        [{"stimulus": n} for n in names],
        pictures,
        ch_names=["Cz", "Pz"],
        sfreq=100,
        tmin=-0.02,
        split={"stimulus": share},
    )
    notes = [note for note in trials.notes if note.startswith("split asks for")]
    assert len(notes) == told
    assert all("10 of 20 are in the test set" in note for note in notes)
    assert (trials.table["split"] == "test").sum() == 10
