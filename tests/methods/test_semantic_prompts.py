"""Semantic prompts: heads learn captions, galleries hold no answers, merges make prompts, nothing leaks by default."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from conftest import make_trials
from phosphene.captions import LEVEL_OF, SLOTS
from phosphene.errors import PhospheneError
from phosphene.methods.base import Method
from phosphene.methods.semantic_prompts import SemanticPrompts
from phosphene.training.fit import Training, fit

SHAPE = {"n_chans": 5, "n_times": 40, "sfreq": 100.0}
SMALL = {"encoder_args": {"dim": 8, "n_sources": 4, "width": 16, "depth": 1, "n_heads": 2}, "width": 32}


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    made = make_trials(tmp_path_factory.mktemp("pictures"), n_concepts=8, repeats=4, subjects=("01", "02"))
    return replace(made, eeg=made.eeg / made.eeg.std())  # as whitening would


@pytest.fixture(scope="module")
def train(trials):
    return trials.select(split="train")


@pytest.fixture(scope="module")
def trained(train):
    torch.manual_seed(0)
    method = SemanticPrompts(**SHAPE, **SMALL)
    return fit(method, train, settings=Training(epochs=25, batch_size=24, lr=5e-3), select_on="last")


def test_a_head_for_each_slot_learns_the_captions_of_its_slot(trained, train):
    assert list(trained.encode(train)) == [slot.name for slot in SLOTS]
    found = trained.retrieved(train)
    for slot, (captions, _) in found.items():
        said = train.stimuli[slot].reindex(train.table["stimulus"]).to_numpy()
        assert np.mean(np.array(captions) == said) > 0.6, slot  # one of six by chance


def test_the_gallery_is_the_trainings_unless_the_answers_are_asked_for(trained, trials, train):
    test = trials.select(split="test")
    said = set(train.stimuli["ObjectSnap"].reindex(train.table["stimulus"]))
    answers = set(test.stimuli["ObjectSnap"].reindex(test.table["stimulus"]))
    assert set(trained.captions(test)["ObjectSnap"]) == said
    assert not said & answers
    assert set(trained.retrieved(test)["ObjectSnap"][0]) <= said
    assert trained.gallery(test) == []
    leaky = SemanticPrompts(**SHAPE, **SMALL, gallery="test_captions")
    assert set(leaky.captions(test)["ObjectSnap"]) == answers
    assert set(leaky.gallery(test)) == set(test.table["stimulus"])
    with pytest.raises(PhospheneError, match="train it first"):
        SemanticPrompts(**SHAPE, **SMALL).captions(test)


def test_points_are_the_mean_of_the_heads_cosines(trained, train):
    some, stimuli = train.select(np.arange(len(train)) < 5), train.stimuli.iloc[:7]
    heads = trained.encode(some)
    joint = F.cosine_similarity(trained.points(heads)[:, None], trained.pictures(stimuli)[None], dim=-1)
    each = [
        F.cosine_similarity(heads[slot][:, None], target.table(stimuli).vectors[None], dim=-1)
        for slot, target in trained.targets().items()
    ]
    torch.testing.assert_close(joint, torch.stack(each).mean(0), atol=1e-5, rtol=1e-4)


def test_merges_make_prompts_of_what_was_retrieved(trained, train):
    some = train.select(np.arange(len(train)) < 6)
    found = {slot: captions for slot, (captions, _) in trained.retrieved(some).items()}
    prompts = {}
    for merge in ("concat", "mean", "weighted", "dominant"):
        trained.merge = merge
        prompts[merge] = trained.condition(some).prompt
        assert len(prompts[merge]) == 6
    for i, prompt in enumerate(prompts["concat"]):
        parts = prompt.split(", ")
        assert parts[0] == found["ObjectSnap"][i]
        assert trained._text.fits(prompt)
        assert all(part in {captions[i] for captions in found.values()} for part in parts)
    for i, prompt in enumerate(prompts["mean"]):
        assert [caption for caption, _ in prompt] == [captions[i] for captions in found.values()]
        assert {weight for _, weight in prompt} == {1.0}
    assert all(abs(sum(w for _, w in prompt) - 1) < 0.01 for prompt in prompts["weighted"])
    for i, prompt in enumerate(prompts["dominant"]):
        assert prompt in {captions[i] for captions in found.values()}
        strongest = max(prompts["weighted"][i], key=lambda pair: pair[1])[0]
        assert prompt == strongest
    trained.merge = "concat"


def test_what_training_found_is_saved(trained, train, tmp_path):
    again = Method.from_pretrained(trained.save(tmp_path / "m"))
    assert again.captions() == trained.captions()
    assert again._null == trained._null
    some = train.select(np.arange(len(train)) < 4)
    assert again.condition(some).prompt == trained.condition(some).prompt


def test_equal_captions_are_no_negatives():
    """A batch in which all say the same has nothing to tell apart: its contrastive loss is zero."""
    torch.manual_seed(0)
    method = SemanticPrompts(**SHAPE, **SMALL, slots=["ThemeTag"])
    eeg, one = torch.randn(6, 5, 40), torch.randn(1, method._text.dim)
    batch = {"eeg": eeg, "stimulus": torch.arange(6), "ThemeTag": one.expand(6, -1)}
    assert method.training_step(batch, "align")["loss"].item() == pytest.approx(0, abs=1e-6)
    apart = {**batch, "ThemeTag": torch.randn(6, method._text.dim)}
    assert method.training_step(apart, "align")["loss"] > 0.5


@pytest.mark.parametrize("loss", ["contrastive", "mse"])
def test_both_losses_pull_outputs_to_their_captions(loss, train):
    torch.manual_seed(0)
    method = SemanticPrompts(**SHAPE, **SMALL, slots=["ObjectSnap", "ThemeTag"], loss=loss)
    target = method.targets()["ObjectSnap"].table(train.stimuli).vectors
    own = train.stimuli.index.get_indexer(train.table["stimulus"])

    def margin() -> float:
        similarity = F.cosine_similarity(method.encode(train)["ObjectSnap"][:, None], target[None], dim=-1)
        return float((similarity[torch.arange(len(own)), own] - similarity.mean(1)).mean())

    before = margin()
    fit(method, train, settings=Training(epochs=15, batch_size=24, lr=5e-3), select_on="last")
    assert margin() > before + 0.02


def test_subjects_have_their_own_token_and_unknown_ones_the_mean():
    torch.manual_seed(0)
    method = SemanticPrompts(**SHAPE, **SMALL, slots=["ObjectSnap"], subjects=["01", "02"]).eval()
    eeg = torch.randn(1, 5, 40)
    with torch.no_grad():
        method.encoder.subject.weight.mul_(5)
        known = [method.heads(eeg, [s])["ObjectSnap"] for s in ("01", "02", "03")]
        nobody = method.heads(eeg)["ObjectSnap"]
    assert not torch.allclose(known[0], known[1], atol=1e-3)
    torch.testing.assert_close(known[2], nobody)
    assert not torch.allclose(known[2], known[0], atol=1e-3)


def test_slots_are_named():
    assert set(LEVEL_OF.values()) == {"object", "spatial", "thematic"}
    with pytest.raises(PhospheneError, match="ObjectSnap"):
        SemanticPrompts(**SHAPE, slots=["ObjectSnip"])
    with pytest.raises(PhospheneError, match="must be a multiple of n_heads"):
        SemanticPrompts(**SHAPE, encoder_args={"width": 30})
