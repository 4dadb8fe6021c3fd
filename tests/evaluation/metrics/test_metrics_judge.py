"""Generation accuracy by a classifier: what it is shown, both targets, and the places of classes."""

import ast
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from phosphene.datasets.eegcvpr40.names import CLASSES
from phosphene.errors import PhospheneError
from phosphene.evaluation.metrics import METRICS, judge
from phosphene.evaluation.metrics.networks import IMAGENET

SHARED = Path(os.environ.get("PHOSPHENE_SHARED", Path(__file__).resolve().parents[4] / "shared"))
LISTED = SHARED / "data" / "things-concepts" / "imagenet1000_classes.txt"
#: what the dataset's authors call otherwise
OTHERWISE = {
    "lycaenid butterfly": "lycaenid",
    "sorrel horse": "sorrel",
    "capuchin monkey": "capuchin",
    "mobile phone": "cellular telephone",
    "convertible car": "convertible",
    "clothes iron": "iron",
    "pajamas": "pajama",
    "bolete mushroom": "bolete",
}


class Brightest(torch.nn.Module):
    """Says for each colour how much of it there is, and keeps what it was shown."""

    def __init__(self):
        super().__init__()
        self.shown = []

    def forward(self, x):
        self.shown.append(x)
        return x.mean((2, 3))


def test_a_judge_is_shown_the_middle_in_its_own_colours():
    wide = np.zeros((40, 80, 3), np.uint8)
    wide[:, 30:50] = (255, 0, 0)
    wide[:, :20] = (0, 255, 0)  # cut away
    net = Brightest()
    logits = judge.judged([wide, np.full((518, 518, 3), 255, np.uint8), wide], model=net, batch_size=2)
    assert logits.shape == (3, 3)
    assert [tuple(x.shape) for x in net.shown] == [(2, 3, 518, 518), (1, 3, 518, 518)]
    mean, std = np.array(IMAGENET[0]), np.array(IMAGENET[1])
    np.testing.assert_allclose(logits[1], (1 - mean) / std, rtol=1e-4)
    np.testing.assert_allclose(logits[0], (np.array([0.5, 0, 0]) - mean) / std, atol=0.02)
    np.testing.assert_array_equal(logits[0], logits[2])


@pytest.mark.parametrize(("height", "width"), [(518, 518), (30, 47), (1000, 519), (519, 700)])
def test_any_picture_becomes_the_judges_size(height, width):
    shown = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    cut = judge.middle(shown, 518)
    assert tuple(cut.shape) == (1, 3, 518, 518)
    assert 0 <= float(cut.min()) <= float(cut.max()) <= 1
    if (height, width) == (518, 518):
        assert torch.equal(cut, shown)


def outputs(n_drawn=24, n_real=8, seed=0):
    """Logits of 100 classes; the judge is wrong of the last two pictures, and of their drawings in the same way."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n_real) * 10
    said = labels.copy()
    said[-2:] += 5
    real = rng.standard_normal((n_real, 100))
    real[np.arange(n_real), said] += 12
    truth = np.arange(n_drawn) % n_real
    drawn = rng.standard_normal((n_drawn, 100))
    drawn[np.arange(n_drawn), said[truth]] += 12
    return drawn, real, truth, labels


def test_the_two_targets_are_two_scores():
    drawn, real, truth, labels = outputs()
    own, label = judge.generation_accuracy(drawn, real, truth, truth, labels)
    assert (own.metric, label.metric) == ("ga_50way_top1", "ga_50way_top1_label")
    rows = [q.answer(n_boot=50, n_perm=200) for q in (own, label)]
    assert rows[0]["value"] == pytest.approx(1)
    assert 0.7 < rows[1]["value"] < 0.95  # two pictures of eight are judged wrong, and so is what is drawn of them
    assert all(row["p"] < 0.01 and row["backbone"] == METRICS["ga_50way_top1"].backbone for row in rows)
    shuffled = judge.generation_accuracy(drawn, real, np.roll(truth, 3), truth)
    assert [q.metric for q in shuffled] == ["ga_50way_top1"]
    assert shuffled[0].answer(n_boot=50, n_perm=200)["p"] > 0.05


def test_chance_is_that_of_the_pictures_not_one_of_fifty():
    """Where four of eight pictures have one target, its drawings are right of four pictures."""
    drawn, real, truth, _ = outputs()
    real[:4] = real[0]
    drawn[truth < 4] = drawn[0]
    (own,) = judge.generation_accuracy(drawn, real, truth, truth)
    assert own.answer(n_boot=20, n_perm=20)["chance"] > 0.25


def test_classes_have_their_places():
    assert judge.places(["n02106662", "n13054560"]).tolist() == [235, 997]
    assert set(judge.IMAGENET_PLACE) == set(CLASSES)
    order = sorted(judge.IMAGENET_PLACE)
    assert judge.places(order).tolist() == sorted(judge.places(order))  # ImageNet's order is that of the ids
    with pytest.raises(PhospheneError, match="'n02106663' has no known place"):
        judge.places(["n02106663"])


def test_the_places_bear_the_classes_names():
    if not LISTED.is_file():
        pytest.skip(f"{LISTED} is not there")
    names = ast.literal_eval(LISTED.read_text(encoding="utf-8"))
    for wnid, name in CLASSES.items():
        known = [n.strip() for n in names[judge.IMAGENET_PLACE[wnid]].split(",")]
        assert OTHERWISE.get(name, name) in known


def test_bad_input_names_the_fix():
    drawn, real, truth, labels = outputs()
    with pytest.raises(PhospheneError, match="do not fit"):
        judge.generation_accuracy(drawn, real[:, 1:], truth, truth)
    with pytest.raises(PhospheneError, match="7 labels for 8 pictures"):
        judge.generation_accuracy(drawn, real, truth, truth, labels[1:])
    with pytest.raises(PhospheneError, match="from 0 to 99"):
        judge.generation_accuracy(drawn, real, truth, truth, labels + 50)
    with pytest.raises(PhospheneError, match="did you mean 'vit-h14'"):
        judge.load_judge("vit-h41")
    with pytest.raises(PhospheneError, match="no pictures to compare"):
        judge.judged([], model=Brightest())
