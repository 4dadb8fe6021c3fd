"""Captions that are longer than a text encoder reads: how many, and how many become alike."""

from dataclasses import replace

import pandas as pd
import pytest

from conftest import make_trials
from phosphene.backbones.table import load_tokenizer, n_read, n_tokens
from phosphene.captions.tokens import cut, shortened_sentence
from phosphene.errors import PhospheneError
from phosphene.generators.diffusion import Diffusion
from phosphene.methods.base import Method
from phosphene.registry import build
from phosphene.runs import experiment
from phosphene.runs.experiment import Experiment
from phosphene.runs.recipe import Recipe
from phosphene.targets.clip import CLIPImage, CLIPText
from phosphene.targets.text_states import TextStates

FITS = " ".join(["car"] * 75)  # 77 tokens with both ends
LONG = " ".join(["car"] * 80)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("mini")


@pytest.mark.parametrize(
    ("captions", "n_long", "alike"),
    [
        ([FITS, "a red car"], 0, 0),
        ([LONG, "a red car"], 1, 0),
        ([LONG, f"{LONG} one", f"{LONG} two", "a red car"], 3, 3),
        ([f"{FITS} one", FITS], 1, 2),  # one that fits is what is left of the other
        ([f"one {LONG} a", f"one {LONG} b", f"two {LONG} a", f"two {LONG} b"], 4, 4),
        ([LONG, LONG], 1, 0),  # the same caption of two pictures was alike before
        (["A Car", "a car"], 0, 0),
        ([], 0, 0),
    ],
)
def test_what_is_cut_is_counted(tokenizer, captions, n_long, alike):
    assert n_tokens(FITS, tokenizer) == 77 == n_read("mini")
    long, same = cut(captions, tokenizer, 77)
    assert (len(long), same) == (n_long, alike)


def test_other_encoders_have_other_limits(tokenizer):
    assert cut(["a red car"], tokenizer, 4)[0] == ["a red car"]
    assert cut(["a red car"], tokenizer, 5)[0] == []
    with pytest.raises(PhospheneError, match="'git-large-coco' reads no captions"):
        n_read("git-large-coco")


def test_the_sentence(tokenizer):
    assert shortened_sentence("ObjectSnap", ["a red car"], tokenizer, 77) == ""
    assert shortened_sentence("ObjectSnap", [LONG, f"{LONG}\nx", "a"], tokenizer, 77) == (
        "ObjectSnap: 2 of 3 distinct captions are longer than the 77 tokens that the text encoder reads and are cut; 2 "
        f"become alike by it; the first: {LONG[:59]}"
    )
    assert "alike" not in shortened_sentence("ObjectSnap", [LONG, "a"], tokenizer, 77)


@pytest.mark.parametrize("target", [CLIPText("ObjectSnap"), TextStates("ObjectSnap")])
def test_targets_of_captions_tell(target):
    stimuli = pd.DataFrame({"ObjectSnap": [LONG, f"{LONG} b", "a"]})
    assert target.shortened(stimuli).startswith("ObjectSnap: 2 of 3 distinct captions are longer than the 77 tokens")
    assert target.shortened(stimuli[2:]) == ""
    assert CLIPImage().shortened(stimuli) == ""


def test_a_template_counts():
    stimuli = pd.DataFrame({"concept": [FITS]})
    assert CLIPText("concept").shortened(stimuli) == ""
    assert "1 of 1" in CLIPText("concept", template="This picture is {}").shortened(stimuli)


@pytest.mark.parametrize(
    ("name", "more", "slots"),
    [
        ("semantic_prompts", {"slots": ["ObjectSnap"]}, ["ObjectSnap"]),  # what it is trained on
        ("nice", {"encoder": "projection"}, ["ObjectSnap", "ThemeTag"]),  # captions are sought in its image space
        ("lda", {"concepts": ["a", "b"]}, []),
    ],
)
def test_a_method_tells_of_the_captions_that_are_read(name, more, slots):
    stimuli = pd.DataFrame({"concept": "a", "ObjectSnap": [LONG, "a"], "ThemeTag": [LONG, "b"]})
    method: Method = build("method", name, n_chans=3, n_times=20, sfreq=50.0, **more)
    assert [sentence.split(":")[0] for sentence in method.shortened(stimuli)] == slots


def test_a_run_tells_and_keeps_it(tmp_path, monkeypatch, caplog):
    trials = make_trials(tmp_path / "pictures")
    said = [f"{LONG} {i}" for i in range(len(trials.stimuli))]
    replace(trials, stimuli=trials.stimuli[["concept", "image"]].assign(ObjectSnap=said)).save(tmp_path / "study")
    recipe = Recipe.read(
        {
            "name": "x",
            "dataset": {"name": "arrays", "root": str(tmp_path / "study")},
            "whitening": None,
            "method": {"name": "semantic_prompts", "slots": ["ObjectSnap"]},
            "evaluation": {"shuffled_control": False},
        }
    )
    monkeypatch.setattr(experiment, "fit", lambda *_, **__: None)
    run = Experiment(recipe, tmp_path / "run")
    run.train()
    n = len(said)
    expected = (
        f"ObjectSnap: {n} of {n} distinct captions are longer than the 77 tokens that the text encoder reads and are"
    )
    assert [note.startswith(expected) for note in run.notes] == [True]
    assert f"{n} become alike by it" in run.notes[0]
    assert [r.getMessage() for r in caplog.records if r.name == "phosphene.runs.experiment"] == run.notes
    run.note(run.notes)  # a continued run says it once
    assert Experiment.open(tmp_path / "run").notes == run.notes
    assert len([r for r in caplog.records if r.name == "phosphene.runs.experiment"]) == 1


def test_a_generator_tells_of_its_prompts():
    generator = Diffusion("mini", steps=1)
    assert generator.shortened(["a red car"]) == ""
    assert generator.shortened([[("a", 1.0), (LONG, 2.0)], f"{LONG} b"]) == shortened_sentence(
        "prompts", ["a", LONG, f"{LONG} b"], load_tokenizer("mini"), 77
    )
