"""A simulated visit in the shape of EEGCVPR40: who sees what when, and what reaches the cap."""

import numpy as np
import pytest

from phosphene.datasets.eegcvpr40.names import ANIMALS, CHANNELS, CLASSES
from phosphene.simulate.designs import DESIGNS
from phosphene.simulate.drawings import KINDS
from phosphene.simulate.eegcvpr40 import LIKENESS, show, splines, visit
from phosphene.simulate.head import CHANNELS as BRAIN
from phosphene.simulate.head import directions

SMALL = {"n_classes": 4, "n_per_class": 6, "size": 32}


def records(design, *, snr_db=-5.0, subject=1):
    """(n_pictures, 128, 500) in the order of the pictures, and what was shown."""
    shown = show(DESIGNS[design], **SMALL)
    eeg = np.full((24, 128, 500), np.nan, np.float32)
    for rows, x in visit(subject, shown, DESIGNS[design], CHANNELS, band=(5.0, 95.0), snr_db=snr_db):
        eeg[rows] = x
    return eeg, shown


def test_animals_are_drawn_for_animals_and_nothing_twice():
    assert list(LIKENESS) == [*sorted(ANIMALS), *sorted(set(CLASSES) - ANIMALS)]
    assert len(set(LIKENESS.values())) == 40
    assert {wnid for wnid, thing in LIKENESS.items() if KINDS[thing] == "an animal"} == ANIMALS


@pytest.mark.parametrize("n_classes", [4, 13, 40])
def test_the_published_timing(n_classes):
    shown = show(DESIGNS["block"], n_classes=n_classes, n_per_class=3, size=16)
    wnid = shown.pictures["wnid"][shown.events["stimulus"]].to_numpy()
    assert (shown.events.groupby("block")["stimulus"].agg(lambda s: s.str[:9].nunique()) == 1).all()
    assert len(set(wnid)) == shown.events["block"].nunique() == n_classes
    assert shown.events["run"].nunique() == 4
    for _, run in shown.events.groupby("run"):
        gaps = np.diff(run["onset"])
        np.testing.assert_allclose(gaps, np.where(np.diff(run["block"]) == 1, 10.5, 0.5))
    assert len(set(wnid) & ANIMALS) == min(8, n_classes // 2)


def test_rapid_shows_the_same_pictures_at_the_same_times_in_another_order():
    blocks, mixed = (show(DESIGNS[d], n_classes=8, n_per_class=6, size=16) for d in ("block", "rapid"))
    assert blocks.pictures.equals(mixed.pictures)
    np.testing.assert_array_equal(blocks.events["onset"], mixed.events["onset"])
    assert set(blocks.events["stimulus"]) == set(mixed.events["stimulus"])
    assert (mixed.events.groupby("block")["stimulus"].agg(lambda s: s.str[:9].nunique()) > 2).all()


def test_splines_leave_known_channels_and_put_others_among_their_neighbours():
    matrix = splines(CHANNELS)
    assert matrix.shape == (128, 63)
    for name in set(CHANNELS) & set(BRAIN):
        expected = np.eye(63)[BRAIN.index(name)]
        np.testing.assert_allclose(matrix[CHANNELS.index(name)], expected, atol=1e-5)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, atol=0.02)  # a constant stays one
    field = np.array([directions()[name][0] for name in BRAIN])  # smooth: how far to the right
    assert matrix[CHANNELS.index("CPP5h")] @ field < -0.3 < 0.3 < matrix[CHANNELS.index("CPP6h")] @ field


def test_records_are_standardised_and_are_each_persons_own():
    (a, _), (again, _), (b, _) = records("block"), records("block"), records("block", subject=2)
    assert np.isfinite(a).all()
    assert 0.5 < a.std() < 1.6
    np.testing.assert_array_equal(a, again)
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.2


def test_a_response_is_there_only_where_it_is_said():
    def evoked(design):
        x = records(design, snr_db=20.0)[0]
        return np.square(x[:, :, 40:400].mean(axis=0)).mean() / np.square(x).mean()

    assert min(evoked("block"), evoked("rapid")) > 0.2
    assert max(evoked("drift"), evoked("phantom")) < 0.1


def test_the_filter_is_causal():
    """Nothing of the first picture of a block is seen before it: before, there were ten seconds of nothing."""
    loud, shown = records("rapid", snr_db=40.0)
    first = shown.events.groupby("block")["stimulus"].first()
    x = loud[shown.pictures.index.get_indexer(first)]
    early, late = (np.square(x[:, :, part]).mean() for part in (slice(0, 20), slice(80, 250)))
    assert early < 0.01 * late
