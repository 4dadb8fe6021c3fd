"""CIDEr and CIDEr-D: worked by hand, against values of the COCO code (pycocoevalcap 1.2), and what must hold."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phosphene.errors import PhospheneError
from phosphene.evaluation.metrics import METRICS, paired
from phosphene.evaluation.metrics.cider import cider, cider_d

SAID = ["A red car on the beach.", "a dog", "", "the cat sat on the mat by the door today"]
TRUE = ["a red car by the sea", "a small dog in the snow", "x", "a cat sat on a mat by the red door today"]


def test_two_words_by_hand():
    """Of two pictures: "a" is in both and weighs nothing, "red" and "dog" weigh log 2."""
    table = cider(["a dog", "red dog"], ["a dog", "a red"])
    # n = 1: (dog) and (red, dog) against (dog), (red); n = 2: own bigrams, "red dog" is in neither
    np.testing.assert_allclose(table, [[(1 + 1) / 4, 0], [(1 / math.sqrt(2)) / 4, (1 / math.sqrt(2)) / 4]])
    np.testing.assert_allclose(cider_d(["a dog", "red dog"], ["a dog", "a red"]), 10 * table)


def test_what_is_said_twice_counts_once_in_cider_d():
    said, true = ["dog dog", "dog"], ["dog", "cat"]
    np.testing.assert_allclose(cider(said, true)[:, 0], [1 / 4, 1 / 4])  # the direction is the same
    wanted = [10 / 4 * math.exp(-1 / 72) * 1 / 2, 10 / 4]  # min(2, 1) * 1 / (2 * 1), one word too many
    np.testing.assert_allclose(cider_d(said, true)[:, 0], wanted)


def test_parity_with_the_coco_code():
    np.testing.assert_allclose(cider_d(SAID, TRUE).diagonal(), [2.84686505, 1.01141554, 0.0, 4.10460412], atol=5e-9)


def test_several_true_captions_are_averaged():
    one, two = cider(SAID, TRUE), cider(SAID, [[c, c] for c in TRUE])
    np.testing.assert_allclose(one, two)  # a picture that says a word twice is one picture that has it
    true = [["a red dog", "a blue bird"], ["a green car"]]
    single = [cider(["a red dog"], [[c], *true[1:]]) for c in true[0]]
    assert single[0][0, 0] > cider(["a red dog"], true)[0, 0] > single[1][0, 0] == 0


WORD = st.sampled_from(["a", "the", "red", "blue", "dog", "cat", "runs"])
WORDS = st.lists(WORD, min_size=1, max_size=8).map(" ".join)


@settings(max_examples=40)
@given(st.lists(WORDS, min_size=1, max_size=5), st.lists(WORDS, min_size=2, max_size=6))
def test_ranges_and_order(said, true):
    for score, top in ((cider, 1), (cider_d, 10)):
        table = score(said, true)
        assert table.shape == (len(said), len(true))
        assert table.min() >= 0
        assert table.max() <= top + 1e-9
        order = np.random.default_rng(0).permutation(len(true))
        np.testing.assert_allclose(score(said, [true[i] for i in order]), table[:, order], atol=1e-12)
    assert (cider_d(said, true) <= 10 * cider(said, true) + 1e-9).all()


def test_the_same_caption_in_other_letters_is_the_best():
    true = [f"{a} {b} on the beach" for a in ("red", "blue", "old") for b in ("car", "dog", "boat")]
    table = cider([c.upper() + "!" for c in true], true)
    assert (table.argmax(1) == np.arange(9)).all()
    assert table.diagonal() == pytest.approx(1)
    assert cider(["red car now"], [*true, "red car now"])[0, 9] == pytest.approx(0.75)  # no 4-gram in three words


def test_it_answers_with_chance_and_p():
    true = [f"{a} {b}" for a in ("red", "blue", "old", "new") for b in ("car", "dog", "boat")]
    own = np.arange(12)
    for name, table in (("cider", cider(true, true)), ("cider_d", cider_d(true, true))):
        row = paired.question(name, table, own, own).answer(n_boot=50, n_perm=200)
        assert row["value"] > 3 * row["chance"] > 0
        assert row["p"] < 0.01
        shuffled = paired.question(name, table, np.roll(own, 5), own).answer(n_boot=50, n_perm=200)
        assert shuffled["p"] > 0.05
        assert METRICS[name].library.startswith("phosphene ")


def test_bad_captions_are_refused():
    with pytest.raises(PhospheneError, match="captions of two or more"):
        cider(["a dog"], ["a dog"])
    for said, true in (([], ["a", "b"]), (["a"], []), (["a"], [["a"], []])):
        with pytest.raises(PhospheneError, match="no captions to compare"):
            cider_d(said, true)
