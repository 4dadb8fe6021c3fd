"""Who exchanges with whom in the audit's permutation tests, and how small a p that allows."""

import math

import numpy as np
import pytest

from phosphene.audit.exchanges import Exchanger, smallest_p

RNG = np.random.default_rng


def study(label, n_runs, *, block=None, n_perm=40, used=True):
    """Trials of one subject, runs of equal length, one after the other."""
    n = len(label)
    run = np.repeat(np.arange(n_runs), n // n_runs)
    one = np.zeros(n, int)
    block = run if block is None else block
    return run, Exchanger(np.asarray(label), one, one, run, block, None, np.full(n, used), n_perm, 0)


def test_single_trials_exchange_within_their_recording_and_part():
    label = RNG(0).integers(2, size=60)
    run, exchanger = study(label, 3)
    train, test = np.flatnonzero(run > 0), np.flatnonzero(run == 0)
    found = exchanger.of(train, test, label, np.arange(20), known=True)
    assert (run[found.trained] == run[train]).all()
    assert all(sorted(row) == test.tolist() for row in found.tested)
    assert len({tuple(row) for row in found.tested}) == 40
    ones = int(label[test].sum())
    assert found.ways_tested == math.comb(20, ones)


def test_folds_of_a_subject_give_a_trial_the_same_label():
    label = RNG(0).integers(2, size=60)
    run, exchanger = study(label, 3)
    given = []
    for left_out in range(3):
        train, test = np.flatnonzero(run != left_out), np.flatnonzero(run == left_out)
        found = exchanger.of(train, test, label, np.arange(20), known=True)
        order = np.empty((40, 60), int)
        order[:, train], order[:, test] = found.trained, found.tested
        given.append(order)
    np.testing.assert_array_equal(given[0], given[1])
    np.testing.assert_array_equal(given[0], given[2])


@pytest.mark.parametrize("marked", [True, False])  # blocks that the study names, and stretches that it does not
def test_blocks_exchange_whole_where_runs_are_left_out(marked):
    order = [[0, 1, 0, 1], [1, 0, 0, 1], [1, 0, 1, 0]]
    label = np.concatenate([np.repeat(o, 10) for o in order])
    blocks = np.repeat(np.arange(12), 10) if marked else None
    run, exchanger = study(label, 3, block=blocks)
    train, test = np.flatnonzero(run > 0), np.flatnonzero(run == 0)
    found = exchanger.of(train, test, label, np.arange(40), known=True)
    each = label[found.tested].reshape(40, 4, 10)
    assert (each == each[:, :, :1]).all()
    assert {tuple(row) for row in each[:, :, 0]} <= {
        (0, 0, 1, 1),
        (0, 1, 0, 1),
        (0, 1, 1, 0),
        (1, 0, 0, 1),
        (1, 0, 1, 0),
        (1, 1, 0, 0),
    }
    assert found.ways_tested == 6
    if marked:
        assert found.ways == pytest.approx(6**3 / 2)  # both pictures renamed is the same study


def test_blocks_that_are_trained_and_tested_are_no_unit():
    label = np.repeat([0, 1, 0, 1], 10)
    _, exchanger = study(label, 1, block=np.repeat(np.arange(4), 10))
    test = np.arange(0, 40, 5)
    found = exchanger.of(np.setdiff1d(np.arange(40), test), test, label, np.arange(8), known=True)
    assert len({tuple(label[row]) for row in found.tested}) > 6
    assert found.ways_tested == math.comb(8, 4)


def test_runs_of_one_picture_each_exchange_as_runs():
    label = np.repeat([0, 1, 0, 1], 10)
    run, exchanger = study(label, 4)
    train, test = np.flatnonzero(run > 1), np.flatnonzero(run < 2)
    found = exchanger.of(train, test, label, np.arange(20), known=True)
    assert found.ways_tested == 2
    assert smallest_p(500, [found.ways_tested], [found.ways], ["1"]) == 0.5


def test_a_random_order_is_no_block_design_and_a_cycle_neither():
    for label in (RNG(1).integers(2, size=80), np.tile([0, 1], 40), RNG(2).integers(40, size=80)):
        assert not study(label, 2)[1].blocked


def test_samples_of_many_looks_exchange_as_one_within_the_sessions_of_their_looks():
    picture = np.tile(np.arange(30), 4)
    session = np.where(picture < 12, 0, 1)
    one = np.zeros(120, int)
    exchanger = Exchanger(picture, one, session, session, session, None, np.full(120, False), 30, 0)
    found = exchanger.of(np.arange(30), np.arange(30, 120), picture, picture[30:], known=True)
    drawn = picture[found.tested]
    assert all(sorted(row) == list(range(30)) for row in drawn)
    assert ((drawn < 12) == (np.arange(30) < 12)).all()
    assert found.ways_tested == pytest.approx(math.factorial(12) * math.factorial(18))


def test_the_smallest_p_counts_what_differs():
    assert smallest_p(100, [math.inf], [math.inf], ["a"]) == 1 / 101
    assert smallest_p(100, [2.0, 2.0], [4.0, 4.0], ["a", "a"]) == 0.25  # of one subject, the same trials
    assert smallest_p(100, [2.0, 2.0, 9.0], [4.0, 4.0, 5.0], ["a", "a", "b"]) == 1 / 20
