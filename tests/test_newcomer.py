"""A newcomer's way, as the example and docs/own-data.md tell it: every line of them is run on a tiny made study."""

import ast
import re
import runpy
import shutil
import sys
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
import yaml

import phosphene
from phosphene.runs.recipe import SHIPPED
from phosphene.simulate.study import simulate

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
STUDY = {"n_train_pictures": 16, "n_test_pictures": 4, "train_repeats": 2, "test_repeats": 2, "snr_db": 5.0, "size": 64}
QUICK = {"training.epochs": 2, "evaluation.n_boot": 20, "evaluation.n_perm": 20}


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """What a newcomer has: `own_raw.fif` with its annotations, and `pictures/`."""
    home = tmp_path_factory.mktemp("home")
    study = simulate(home / "made", **STUDY)
    (recording,) = study.rglob("*_raw.fif")
    recording.rename(home / "own_raw.fif")
    (home / "pictures").mkdir()
    for picture in (study / "stimuli").rglob("*.png"):
        picture.rename(home / "pictures" / picture.name)
    shutil.rmtree(study)
    return home


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def whole(run: Path) -> None:
    """A page, and scores that stand beside chance and control."""
    assert (run / "report.html").stat().st_size > 10_000
    scores = pd.read_csv(run / "scores.csv")
    assert "image_top1" in set(scores["metric"])
    assert scores[["value", "chance", "shuffled", "p", "p_min"]].notna().all(axis=None)
    assert (scores["ci_low"].notna() | scores["interval"].notna()).all()  # an interval, or the reason why there is none


def test_the_example_is_short():
    source = (ROOT / "examples" / "own_study.py").read_text(encoding="utf-8")
    body = ast.parse(source).body[1:]  # without the docstring
    lines = source.splitlines()[body[0].lineno - 1 :]
    assert len([line for line in lines if line.strip() and not line.strip().startswith("#")]) < 30


def test_the_example_goes_from_an_own_recording_to_scores(home, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["own_study.py", f"{home}/own_raw.fif", f"{home}/pictures", f"{home}/out"])
    runpy.run_path(str(ROOT / "examples" / "own_study.py"))
    whole(home / "out" / "run")
    assert "chance" in capsys.readouterr().out
    trials = phosphene.Trials.load(home / "out" / "trials")
    assert trials.table["split"].value_counts().to_dict() == {"train": 32, "test": 8}
    raw = mne.io.read_raw_fif(home / "own_raw.fif", verbose="error")
    assert list(trials.table["stimulus"]) == list(raw.annotations.description)


def test_the_pages_python_runs_and_its_ways_agree(home, monkeypatch):
    """The recording, its epochs and its array give the same pictures; the array, told to be in uV, the same volts."""
    monkeypatch.chdir(home)
    room: dict = {}
    kept = []
    for block in blocks("python"):
        exec(compile(block, "own-data.md", "exec"), room)
        kept.append(room["trials"])
    recording, _, epochs, arrays = kept
    assert len({tuple(t.table["stimulus"]) for t in kept}) == 1
    assert len({tuple(t.table["split"]) for t in kept}) == 1
    assert set(recording.table["split"]) == {"train", "test"}
    assert recording.signal.sfreq == 125
    assert epochs.signal.sfreq == arrays.signal.sfreq == 250
    np.testing.assert_allclose(arrays.eeg, epochs.eeg, rtol=1e-5, atol=1e-12)
    assert "T3" in room["some"].signal.ch_names
    assert len(room["some"]) == 32
    assert phosphene.load("arrays", root="trials/own").eeg.shape == recording.eeg.shape


def test_the_pages_recipe_for_arrays_runs(home, monkeypatch):
    (recipe,) = (b for b in blocks("yaml") if "own-arrays" in b)
    monkeypatch.chdir(home)
    raw = mne.io.read_raw_fif("own_raw.fif", verbose="error")
    trials = phosphene.from_mne(raw, "pictures", tmin=-0.1, tmax=0.7, sfreq=None)
    Path("arrays").mkdir()
    np.save("arrays/X.npy", 1e6 * np.asarray(trials.eeg))
    trials.table[["stimulus", "repeat"]].to_csv("arrays/table.csv", index=False)
    Path("arrays/channels.txt").write_text("\n".join(trials.signal.ch_names))
    whole(phosphene.run(yaml.safe_load(recipe), QUICK, out=home / "runs" / "arrays"))


def test_the_pages_recipe_for_bids_runs_without_python(home, monkeypatch):
    pytest.importorskip("mne_bids")
    pytest.importorskip("pybv")
    (recipe,) = (b for b in blocks("yaml") if "own-study" in b)
    assert recipe == SHIPPED["own-study"].read_text(encoding="utf-8")
    assert recipe.count("\n") < 30
    from typer.testing import CliRunner

    from phosphene.cli import app

    study = simulate(home / "study", fmt="brainvision", **STUDY)
    (study / "dataset.json").unlink()  # as any other study
    changes = [f"--set={key}={value}" for key, value in {"dataset.root": study, **QUICK}.items()]
    done = CliRunner().invoke(app, ["run", "own-study", *changes, "--out", str(home / "runs" / "bids")])
    assert done.exit_code == 0, done.output
    whole(home / "runs" / "bids")
