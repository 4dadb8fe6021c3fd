"""`phosphene audit` on run folders: the file, the table of the page, the exit status."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps
from typer.testing import CliRunner

from conftest import without_checksums
from phosphene.audit import audit, lines, pictures, retrained, surrogates
from phosphene.audit.decoding import Control
from phosphene.audit.drawings import WAYS, Drawings
from phosphene.cli import app
from phosphene.errors import PhospheneError
from phosphene.methods.nice import NICE
from phosphene.runs.experiment import Experiment
from phosphene.runs.recipe import Recipe
from phosphene.simulate.known import known_trials
from phosphene.simulate.study import simulate


def recipe(root, **changes):
    return Recipe.read(
        {
            "name": "known",
            "dataset": {"name": "arrays", "root": str(root), "concept": "concept", **changes},
            "preprocessing": {},
            "protocol": {"select_on": "last", "val_fraction": 0, "average_test": 1},
            "method": {"name": "lda"},
            "evaluation": {"n_boot": 50, "n_perm": 20, "shuffled_control": False},
        }
    )


@pytest.fixture
def study(tmp_path):
    def make(design):
        trials = known_trials(design, seed=1, n_classes=30, per_class=5)
        return trials.save(tmp_path / design)

    return make


def test_a_sound_run_exits_0_and_a_confounded_one_1(study, tmp_path):
    for design, status in (("rapid", 0), ("block-silent", 1)):
        out = tmp_path / f"run-{design}"
        Experiment(recipe(study(design)), out).prepare()
        result = CliRunner().invoke(app, ["audit", str(out), "--n-perm", "150"])
        assert result.exit_code == status, result.output
        facts = json.loads((out / "audit.json").read_text())
        assert bool(facts["failed"]) == bool(status)
        assert {c["name"] for c in facts["controls"]} >= {"decoding", "C1", "C2", "C3", "C5", "C7"}
        assert [c["verdict"] for c in facts["controls"] if c["name"] == "C1"] != ["left out"]


def test_a_line_for_each_question_and_on_demand_for_each_fold():
    found = [
        Control("C2", "is it decoded early?", "all", 0.61, 0.5, 0.4, 0.6, 0.00831, 80, "fail", "a leak"),
        Control("C2", "is it decoded early?", "01-1", 0.62, 0.5, 0.4, 0.6, 0.2, 40, "shown", "no"),
    ]
    short, long = lines(found), lines(found, folds=True)
    assert [line[:16].split() for line in short[:-1]] == [["fail", "C2"]]
    assert "(0.610, chance 0.5, p = 0.008)" in short[0]
    assert len(long) == len(short) + 1
    assert "01-1: is it decoded early? no (0.620, chance 0.5, p = 0.20)" in long[1]
    assert "yes means p <= 0.05" in short[-1]
    assert "p <= 0.0083" in short[-1]


def test_questions_of_drawings_without_power_are_left_out():
    way = next(w for w in WAYS if w.fault)
    values = np.full(4, 1.0)
    found = pictures._beaten(way, values, np.zeros(4), np.array(["a", "a", "b", "b"]), 0)
    assert found.p_min == 1 / 16
    assert found.verdict == "left out"
    assert "no power (smallest possible p = 0.062)" in found.reason
    assert pictures._beaten(way, np.ones(8), np.zeros(8), np.repeat(["a", "b"], 4), 0).verdict == "pass"


def test_a_block_design_is_taken_at_its_word(study, tmp_path):
    out = tmp_path / "run"
    Experiment(recipe(study("block"), design="block"), out).prepare()
    failed = {c.name for c in audit(out, n_perm=150) if c.verdict == "fail"}
    assert {"C3", "C7"} <= failed


# -- the method, retrained -------------------------------------------------------------------------


def test_stand_ins_keep_moments_and_layout_and_hold_no_picture():
    trials = known_trials("rapid", seed=1, n_classes=20, per_class=5)
    made = surrogates.noise(trials, seed=3)
    eeg, other = np.asarray(trials.eeg), np.asarray(made.eeg[:])
    flat, still = (x.transpose(1, 0, 2).reshape(x.shape[1], -1) for x in (eeg, other))
    size = np.abs(np.cov(flat)).max()
    np.testing.assert_allclose(np.cov(still), np.cov(flat), atol=0.1 * size)
    np.testing.assert_allclose(made.eeg[7:9], other[7:9])  # whatever is read together
    assert made.table.equals(trials.table)
    moved = np.asarray(surrogates.phantom(trials, seed=3).eeg[:]).mean(axis=2)
    order = np.argsort(trials.table["onset"])
    slow = moved[order] - moved.mean(axis=0)
    lagged = (slow[1:] * slow[:-1]).mean() / (slow * slow).mean()
    assert lagged > 0.35
    white = other.mean(axis=2)[order] - other.mean(axis=2).mean(axis=0)
    assert abs((white[1:] * white[:-1]).mean() / (white * white).mean()) < 0.1


def test_a_phantom_is_decoded_in_blocks_and_not_in_a_random_order(study, tmp_path):
    for design, expected in (("rapid", "pass"), ("block", "fail")):
        experiment = Experiment(recipe(study(design)), tmp_path / f"run-{design}")
        experiment.prepare()
        experiment.train()
        found = {c.question: c for c in retrained.controls(experiment, 150)}
        _, permuted, still, phantom = found.values()
        assert phantom.verdict == expected, found
        assert still.verdict == "pass"
        assert permuted.verdict == "left out"  # the recipe has no control
        assert not (experiment.out / "audit" / "phantom" / "trials").exists()
        again = list(retrained.controls(experiment, 150))
        assert again[-1] == phantom


# -- the generator ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    root = simulate(folder / "s", n_train_pictures=60, n_test_pictures=32, train_repeats=1, test_repeats=2, snr_db=8.0)
    settings = {
        "dataset.root": str(root),
        "training.epochs": 6,
        "evaluation.n_boot": 50,
        "evaluation.n_perm": 50,
        "generator.steps": 2,
    }
    experiment = Experiment(Recipe.read("demo", settings), folder / "run")
    experiment.run()
    return experiment


def test_every_control_of_the_generator_is_drawn_and_judged(drawn):
    found = audit(drawn.out, n_perm=150, parts=["pictures"], n_pictures=6)
    names = [c.name for c in found]
    assert set(names) == {"G0", "G1", "G2", "G3", "G4", "G5", "G6", "G7", "G8", "G9", "G10", "G11"}
    by = {}
    for c in found:
        by.setdefault(c.name, c)
    assert by["G0"].verdict == "pass"
    assert by["G0"].value > 0.7
    for blind in ("G1", "G2", "G3", "G4", "G8", "G10"):
        assert by[blind].value < by["G0"].value
        assert by[blind].n == 6
    assert by["G5"].value > 0.85  # a label is a ceiling of what shows the object
    table = pd.read_csv(drawn.out / "audit" / "pictures.csv")
    assert set(table["drawn"]) >= {"eeg", "noise", "silence", "oracle", "label", "nearest", "nothing", "again"}
    assert {"drawn_2way", "drawn_object", "fid_mini"} <= set(table["metric"])
    own = table[(table["drawn"] == "eeg") & (table["metric"] == "drawn_2way")]["value"].item()
    assert own == pytest.approx(by["G0"].value)
    # the same pictures again, from where they lie
    folder = drawn.out / "audit" / "images"
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*.png")}
    assert len(before) >= 6 * 5
    drawings = Drawings(drawn, 6)
    for way in WAYS:
        drawings.of(way)
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*.png")} == before
    # one that a stop left out is drawn with those that it was drawn with before: alone it would be rounded otherwise
    label = sorted((folder / "label").glob("*.png"))
    content = {p: p.read_bytes() for p in label}
    label[-1].unlink()
    drawings.of(next(way for way in WAYS if way.key == "label"))
    assert {p: p.read_bytes() for p in label} == content
    assert label[0].stat().st_mtime_ns != before[label[0]]


def test_another_seed_is_another_picture_and_the_same_seed_the_same(drawn):
    """G11 draws with another noise; drawn with the run's own seed it would be the run's picture."""
    drawings = Drawings(drawn, 4)
    (again,) = [way for way in WAYS if way.key == "again"]
    own, other = drawings.own(), drawings.of(again)
    same = drawn.generator()(drawings._again(), seed=drawn.protocol.seed, numbers=drawings.numbers)
    for picture, changed, (repeated,) in zip(own, other, same, strict=True):
        assert np.abs(np.asarray(picture, float) - np.asarray(changed, float)).max() > 30
        assert np.abs(np.asarray(picture, float) - np.asarray(repeated, float)).max() <= 3


def test_drawings_of_other_eeg_fail_g0_and_lost_drawings_fail_g11(drawn, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(drawn.out, copy)
    without_checksums(copy)
    paths = sorted((copy / "images" / "01-test").glob("*.png"))
    for path, other in zip(paths, np.roll(paths, 7), strict=True):
        shutil.copy(drawn.out / "images" / "01-test" / other.name, path)
    paths[0].unlink()
    other = Experiment.open(copy)
    assert pictures._all_kept(other).verdict == "fail"
    shutil.copy(paths[1], paths[0])
    drawings = Drawings(other, 30)
    deranged = next(pictures._deranged(drawings, drawings.questions(drawings.own()), 150))
    assert deranged.verdict == "fail"


def test_a_gallery_of_answers_fails_g9(drawn, monkeypatch):
    assert pictures._gallery(drawn).verdict == "pass"
    tested = drawn.trials.table["stimulus"][drawn.folds[0].test].unique()
    monkeypatch.setattr(NICE, "gallery", lambda self, trials: list(tested[:3]))
    found = pictures._gallery(drawn)
    assert (found.verdict, found.value) == ("fail", 3)


def test_a_training_picture_that_is_a_copy_of_a_test_picture_fails_g9(drawn, tmp_path):
    names, fold, stimuli = drawn.trials.table["stimulus"], drawn.folds[0], drawn.trials.stimuli
    trained, tested = names[fold.train].unique(), names[fold.test].unique()
    changed = stimuli.copy()
    ImageOps.mirror(Image.open(stimuli.loc[tested[0], "image"])).save(tmp_path / "copy.png")
    changed.loc[trained[0], "image"] = str(tmp_path / "copy.png")
    changed.loc[trained[1], "image"] = stimuli.loc[tested[1], "image"]
    other = Experiment.open(drawn.out)
    other.__dict__["trials"] = replace(drawn.trials, stimuli=changed)
    found = pictures._gallery(other)
    assert (found.verdict, found.value) == ("fail", 2)
    assert "1 the same file under another name, 1 near-duplicates" in found.reason


def test_a_control_that_is_as_good_is_not_beaten():
    way = next(w for w in WAYS if w.fault)
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(25), 4).astype(str)
    p = []
    for _ in range(60):
        shared = rng.normal(size=25).repeat(4)
        eeg, other = (shared + 0.3 * rng.normal(size=25).repeat(4) + 0.3 * rng.normal(size=100) for _ in range(2))
        found = pictures._beaten(way, eeg, other, clusters, 0)
        p.append(found.p)
        assert pictures._beaten(way, eeg + 1, other, clusters, 0).verdict == "pass"
    assert np.mean(np.array(p) < 0.05) <= 0.15
    assert 0.35 < np.mean(p) < 0.65


def test_questions_that_cannot_be_asked_say_why(study, tmp_path):
    out = tmp_path / "run"
    Experiment(recipe(study("rapid")), out).prepare()
    found = {c.name: c.reason for c in audit(out, n_perm=150, parts=["retrained", "pictures"])}
    assert "not trained" in found["retrained"]
    assert "draws no pictures" in found["G0"]
    with pytest.raises(PhospheneError, match="unknown part 'generator'"):
        audit(out, parts=["generator"])
    with pytest.raises(PhospheneError, match="at least 120"):
        audit(out, n_perm=60)
