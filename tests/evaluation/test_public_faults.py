"""Faults that can be read in public code of the field, each as a test that this code does not have it."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import make_trials
from phosphene.captions import NAMED
from phosphene.datasets.eegcvpr40.dataset import EEGCVPR40
from phosphene.datasets.eegcvpr40.files import SPLITS
from phosphene.datasets.eegcvpr40.names import CLASSES
from phosphene.eeg.whitening import whiten
from phosphene.errors import PhospheneError
from phosphene.evaluation.protocols import LEAKY, SETTINGS, Protocol, overlap_table
from phosphene.evaluation.scores import picture_retrieval
from phosphene.runs import scoring
from phosphene.runs.reading import read
from phosphene.runs.recipe import Evaluation
from phosphene.targets.clip import CLIPImage


def _makers():
    """The miniature files of the dataset's own tests."""
    path = Path(__file__).parents[1] / "datasets" / "test_eegcvpr40.py"
    spec = importlib.util.spec_from_file_location("eegcvpr40_makers", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


made = _makers()


@pytest.fixture
def study(tmp_path):
    """A function that writes the miniature study with the given splits of the whole list and of a subject's list."""

    def write(whole=None, single=None, records=None):
        records = made.records() if records is None else records
        held = {"dataset": records, "labels": made.LABELS, "images": made.IMAGES}
        torch.save(held, tmp_path / "eeg_55_95_std.pth")
        torch.save({"splits": [whole or made.by_image(records)]}, tmp_path / SPLITS["all"])
        torch.save({"splits": [single or {"train": [0, 1, 2], "val": [3], "test": [5]}]}, tmp_path / SPLITS["single"])
        return tmp_path

    return write


# -- trials pooled over subjects, shuffled and cut -----------------------------------------------------


@pytest.mark.parametrize("subjects", ["within", "joint"])
def test_pooled_subjects_do_not_carry_test_pictures_into_training(study, subjects):
    """Pooling all subjects and shuffling puts a test picture into training through the other subjects."""
    trials = made.load(study(), splits="all")
    table = overlap_table(Protocol(split="given", subjects=subjects), trials)
    stimulus = table[table["unit"] == "stimulus"]
    assert set(zip(stimulus["a"], stimulus["b"], strict=True)) == {("train", "test"), ("train", "val"), ("val", "test")}
    assert (stimulus["n_shared"] == 0).all()


def test_a_pooled_shuffle_has_only_the_name_that_says_so_and_its_leak_is_listed(study):
    trials = made.load(study())
    leaky = Protocol(split=LEAKY, subjects="joint", val_fraction=0, test_fraction=0.25)
    row = overlap_table(leaky, trials).set_index("unit").loc["stimulus"]
    assert row["b_trials"] > 0
    assert row["shared"].split(", ")[0] in made.IMAGES
    assert leaky.hash.startswith("leaky-")
    for name in SETTINGS:
        assert not Protocol.named(name).hash.startswith("leaky-")


def test_a_picture_s_repeats_are_not_split_between_parts_by_the_validation():
    trials = make_trials(subjects=("01", "02"), repeats=4, n_times=4)
    for val_by in ("concept", "stimulus"):
        table = overlap_table(Protocol(subjects="joint", val_by=val_by, val_fraction=0.3), trials)
        val = table[(table["a"] == "train") & (table["b"] == "val") & (table["unit"] == "stimulus")]
        assert (val["n_shared"] == 0).all()


# -- the answers of the test as the gallery ------------------------------------------------------------


def test_captions_are_sought_among_all_captions_not_those_of_the_test(monkeypatch):
    trials = make_trials(n_times=4)
    slots = [s.name for s in NAMED if s.name in trials.stimuli]
    protocol = Protocol(val_fraction=0)
    (fold,) = protocol.folds(trials)
    test = protocol.samples(trials.select(fold.test), "test").table
    asked = []

    class Space(CLIPImage):
        def texts(self, captions):
            asked.append(list(captions))
            return torch.eye(len(captions), 16)

    class Decoder:
        image_space = Space("mini")

        def pictures(self, stimuli):
            return torch.eye(len(stimuli), 16)

    class Run:
        def __init__(self):
            self.trials, self.protocol = trials, protocol
            self.recipe = type("Recipe", (), {"generator": None, "evaluation": Evaluation(), "protocol": protocol})

        def decoded(self, fold, shuffled=False):
            return test, {"image": torch.randn(len(test), 16, generator=torch.Generator().manual_seed(0))}

        def method(self, fold):
            return Decoder()

        def points(self, fold, shuffled=False):
            return self.decoded(fold)[1]["image"].numpy()

        def gallery(self, fold):
            gallery = trials.stimuli[trials.stimuli.index.isin(test["stimulus"])]
            return gallery, gallery.index.get_indexer(test["stimulus"])

    questions = scoring.questions(read(Run(), fold), Run().recipe)
    assert asked == [sorted(set(trials.stimuli[slot])) for slot in slots]
    for slot, captions in zip(slots, asked, strict=True):
        assert len(set(trials.stimuli.loc[sorted(set(test["stimulus"])), slot])) < len(captions)
    assert any(q.metric.startswith("caption_") and q.table.shape[1] == len(asked[0]) for q in questions)


@pytest.mark.parametrize("gallery", ["test", "concept", "within_concept", "train", "all"])
def test_a_gallery_that_holds_test_answers_has_them_in_its_name(gallery):
    trials = make_trials(n_times=4)
    for protocol in (
        Protocol(gallery=gallery, val_fraction=0),
        Protocol(gallery=gallery, split="leave_one_run_out", val_fraction=0),
    ):
        fold = next(protocol.folds(trials))
        tested = trials.table["stimulus"][fold.test]
        found = protocol.among(trials, fold, tested)
        assert ("test_answers" in found.name) == bool(set(found.stimuli.index) & set(tested))


# -- indices and filters ---------------------------------------------------------------------------------


@pytest.mark.parametrize("subject", ["1", "4", "6"])
def test_indices_of_the_whole_list_point_at_its_records_after_a_subject_is_chosen(study, subject):
    """Numbers of the unfiltered list, used in the filtered one, name wrong trials; the EEG itself tells."""
    trials = made.load(study(), splits="all", subject=subject)
    part = ("train", "train", "val", "test")
    for (shown_to, image), split in zip(made.truth(trials), trials.table["split"], strict=True):
        assert shown_to == subject
        assert split == part[made.IMAGES.index(image) // len(made.LABELS)]


@pytest.mark.parametrize(("splits", "n"), [("all", 36), ("single", 12)])
def test_an_index_equal_to_the_length_is_outside_and_the_last_is_inside(study, splits, n):
    """A filter `i <= len(data)` lets the first index beyond the list pass."""
    key = {"all": "whole", "single": "single"}[splits]
    with pytest.raises(PhospheneError, match=f"index {n} lies outside"):
        made.load(study(**{key: {"train": [0], "val": [1], "test": [n]}}), splits=splits)
    trials = made.load(study(**{key: {"train": [*range(n - 2)], "val": [n - 2], "test": [n - 1]}}), splits=splits)
    per_subject = 1 if splits == "all" else len(made.SUBJECTS)
    assert (trials.table["split"] == "test").sum() == per_subject


def test_the_test_part_is_not_the_validation_part(study):
    """A configuration that points the test at the validation folder."""
    whole = made.by_image(made.records())
    with pytest.raises(PhospheneError, match="parts overlap"):
        made.load(study({**whole, "test": whole["val"]}), splits="all")
    with pytest.raises(PhospheneError, match="parts overlap"):
        made.load(study({**whole, "test": [*whole["test"], whole["train"][0]]}), splits="all")


def test_the_test_part_selects_no_epoch():
    """The best of many epochs on the test pictures."""
    with pytest.raises(ValueError, match="'test' does not exist"):
        Protocol(select_on="test")


# -- the signal ----------------------------------------------------------------------------------------------


def test_a_trial_is_not_scaled_by_its_own_maximum(study):
    """One record three times as strong: its trial is too, and no other one changes."""
    plain, changed = made.records(), made.records()
    rng = torch.Generator().manual_seed(0)
    for one, other in zip(plain, changed, strict=True):
        one["eeg"] = torch.randn(one["eeg"].shape, generator=rng)
        other["eeg"] = one["eeg"].clone()
    changed[7]["eeg"] *= 3
    eeg, stronger = (np.asarray(made.load(study(records=r), splits="all").eeg) for r in (plain, changed))
    ratio = np.abs(stronger).max((1, 2)) / np.abs(eeg).max((1, 2))
    assert sorted(np.round(ratio, 4).tolist()) == [1.0] * 35 + [3.0]
    np.testing.assert_allclose(stronger[ratio.argmax()], 3 * eeg[ratio.argmax()], rtol=1e-5)


def test_whitening_keeps_how_strong_a_test_trial_is():
    trials = make_trials(n_times=12)
    train = (trials.table["split"] == "train").to_numpy()
    place = int(np.flatnonzero(~train)[1])
    eeg = np.array(trials.eeg)
    eeg[place] *= 2
    before, after = (np.asarray(whiten(t, train)[0].eeg) for t in (trials, replace(trials, eeg=eeg)))
    np.testing.assert_allclose(after[place], 2 * before[place], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(np.delete(after, place, 0), np.delete(before, place, 0), rtol=1e-4, atol=1e-6)


# -- the number of classes ---------------------------------------------------------------------------------


def test_there_are_as_many_classes_as_there_are(study):
    """A metric set to 50 classes has the chance level of none of the 40."""
    assert len(CLASSES) == 40
    dataset = EEGCVPR40(study())
    assert dataset.load(dataset.steps({})).table["concept"].nunique() == len(made.LABELS)
    rng = np.random.default_rng(0)
    concepts = np.repeat([f"c{i:02d}" for i in range(40)], 3)
    questions = {
        q.metric: q
        for q in picture_retrieval(
            rng.standard_normal((120, 8)), rng.standard_normal((120, 8)), np.arange(120), concepts, "mini"
        )
    }
    row = questions["concept_top1"]
    assert row.table.shape[1] == 40
    assert row.answer(n_boot=10, n_perm=10)["chance"] == pytest.approx(1 / 40, abs=0.01)


def test_no_count_of_classes_is_written_into_the_scores():
    """The same questions of 7 concepts are about 7."""
    rng = np.random.default_rng(0)
    concepts = pd.Series(np.repeat(list("abcdefg"), 2)).to_numpy(str)
    found = picture_retrieval(rng.standard_normal((14, 4)), rng.standard_normal((14, 4)), np.arange(14), concepts, "")
    assert {q.metric: q.table.shape[1] for q in found}["concept_top1"] == 7
