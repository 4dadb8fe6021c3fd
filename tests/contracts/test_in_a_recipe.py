"""Every registered class runs inside a tiny real recipe, from recording to page; a new one is tried by being
registered, and a dataset, a captioner or a generator that needs more than defaults says here what it needs."""

import inspect
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from studies import STUDIES, arrays

from conftest import make_trials
from phosphene.api import run
from phosphene.captions import SLOTS, write
from phosphene.captions.base import Captioner
from phosphene.datasets.base import Epoched, Recording
from phosphene.errors import MissingExtra
from phosphene.priors.base import Prior
from phosphene.registry import classes
from phosphene.runs.preparation import load

EVALUATION = {"n_boot": 20, "n_perm": 99, "shuffled_control": False}
#: methods -> arguments with which they are small
SMALL = {"synapse": {"drawing": "label"}, "semantic_prompts": {"slots": ["ObjectSnap", "ThemeTag"]}}
#: generators -> arguments with which they draw in a recipe, or why they cannot
DRAWS = {"diffusion": {"backbone": "mini", "steps": 1}, "nearest": "it is given its pictures by the audit"}
#: targets -> who asks what needs a model that is no part of the package
KEPT = {"visual_tokens": "tests/targets/test_captioner_tokens.py asks it, of a tiny model"}
#: captioners -> arguments, or what is asked of them elsewhere
SAYS = {
    "file": {"path": "said.csv"},
    "drawn": {},
    "openai": "tests/captions/test_caption_endpoint.py asks it, of a local server",
    "vision_language": "tests/captions/test_caption_vision_language.py asks it, of tiny models",
}


def recipe(study: dict, **parts) -> dict:
    return {
        "name": "tiny",
        "dataset": {"name": "arrays", **study},
        "method": {"name": "nice", "encoder": "projection"},
        "preprocessing": {},
        "protocol": {"select_on": "last"},
        "training": {"epochs": 1},
        "evaluation": EVALUATION,
        **parts,
    }


def to_its_page(folder: Path, study: dict, **parts) -> pd.DataFrame:
    """The scores of a run that came as far as its page."""
    out = run(recipe(study, **parts), out=folder / "run")
    assert "<html" in (out / "report.html").read_text(encoding="utf-8")
    scores = pd.read_csv(out / "scores.csv")
    assert np.isfinite(scores["value"]).all()
    return scores


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return arrays(tmp_path_factory.mktemp("study"))


def test_nothing_is_said_of_what_is_not_registered():
    """A class that is lost to the registry (a folder that is not looked into) would be lost to its contract too."""
    assert set(STUDIES) == set(classes("dataset"))
    for kind, said in {"method": SMALL, "generator": DRAWS, "target": KEPT, "captioner": SAYS}.items():
        assert set(said) <= set(classes(kind)), kind


@pytest.mark.parametrize("name", classes("encoder"))
def test_encoders(name, study, tmp_path):
    try:
        to_its_page(tmp_path, study, method={"name": "nice", "encoder": name})
    except MissingExtra as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(("name", "cls"), classes("prior").items())
def test_priors(name, cls, study, tmp_path):
    assert issubclass(cls, Prior)
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(60, n, generator=generator) for n in (7, 5))
    prior = cls(n_inputs=7, n_outputs=5)
    if prior.solved:
        prior.fit(x, y)
    else:
        prior.observe(y, x)
        prior.loss(x, y).backward()
        assert all(p.grad is not None for p in prior.parameters())
    with torch.inference_mode():
        whole = prior.eval()(x)
        assert whole.shape == (60, 5)
        again = cls(n_inputs=7, n_outputs=5)
        again.load_state_dict(prior.state_dict())
        torch.testing.assert_close(again.eval()(x), whole)
    to_its_page(tmp_path, study, method={"name": "nice", "encoder": "projection", "prior": name})


@pytest.mark.parametrize(("name", "cls"), classes("method").items())
def test_methods(name, cls, study, tmp_path):
    if cls.n_concepts is not None:
        study = {**study, "keep": {"concept": [f"c{i}" for i in range(cls.n_concepts)]}, "split": {"run": ["02"]}}
    to_its_page(tmp_path, study, method={"name": name, **SMALL.get(name, {})})


@pytest.mark.parametrize("name", classes("generator"))
def test_generators(name, study, tmp_path):
    if isinstance(needs := DRAWS.get(name, {}), str):
        pytest.skip(needs)
    scores = to_its_page(tmp_path, study, generator={"name": name, **needs})
    assert {"pixcorr", "ssim"} <= set(scores["metric"])


@pytest.mark.parametrize("name", classes("dataset"))
def test_datasets(name, tmp_path):
    arguments = STUDIES[name](tmp_path / "data")
    cls = classes("dataset")[name]
    dataset = cls(**arguments)
    subjects, table = dataset.chosen(), dataset.stimuli()
    assert table.index.name == "stimulus"
    n = 0
    for recording in dataset.recordings(subjects):
        assert isinstance(recording, Recording | Epoched)
        assert set(recording.table["stimulus"]) <= set(table.index)
        n += 1
    assert n >= 1
    trials = load(name, **arguments)
    assert set(trials.table["subject"]) <= set(subjects)
    assert len(trials.signal.ch_names) == trials.n_chans
    assert np.isfinite(np.asarray(trials.eeg[:2])).all()
    assert dataset.fingerprint() == cls(**arguments).fingerprint()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in classes("dataset") if name not in ("arrays", "things_meg")])
def test_datasets_to_their_pages(name, tmp_path):
    arguments = {"name": name, **STUDIES[name](tmp_path / "data")}
    if name == "muse":
        to_its_page(tmp_path, {}, dataset=arguments, method={"name": "lda"}, protocol={"split": "leave_one_run_out"})
    else:
        to_its_page(tmp_path, {}, dataset=arguments, method={"name": "ridge"})


@pytest.mark.parametrize(("name", "cls"), classes("target").items())
def test_targets(name, cls, tmp_path):
    if name in KEPT:
        pytest.skip(KEPT[name])
    stimuli = make_trials(tmp_path / "pictures").stimuli
    needs = [key for key, p in inspect.signature(cls).parameters.items() if p.default is p.empty]
    target = cls(**{"slot": "ObjectSnap"} if "slot" in needs else {})
    table = target.table(stimuli, tmp_path / "cache")
    assert table.names == list(stimuli.index)
    assert table.vectors.dtype == torch.float32
    assert len(table.vectors) == len(stimuli)
    turned = target.table(stimuli.iloc[::-1], tmp_path / "cache")
    torch.testing.assert_close(turned[stimuli.index], table[stimuli.index], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "cls"), classes("captioner").items())
def test_captioners(name, cls, tmp_path, monkeypatch):
    assert issubclass(cls, Captioner)
    if isinstance(needs := SAYS.get(name, {}), str):
        pytest.skip(needs)
    monkeypatch.chdir(tmp_path)
    stimuli = make_trials(tmp_path / "pictures").stimuli
    stimuli.to_csv("said.csv")
    captioner = cls(**needs)
    assert captioner.config() == needs
    assert captioner.identity()
    captions = write(captioner, stimuli, tmp_path / "out", SLOTS[:2])
    wide = captions.wide()
    assert list(wide.index) == list(stimuli.index)
    assert (wide.map(len) > 0).all(axis=None)
