"""A whole run on a small simulated study: it finishes, repeats itself, resumes, and its controls are controls."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from conftest import make_trials, without_checksums
from phosphene.eeg.trials import Trials
from phosphene.errors import PhospheneError
from phosphene.evaluation.scores import COLUMNS
from phosphene.runs.ceiling import ceilings
from phosphene.runs.experiment import Experiment
from phosphene.runs.preparation import shuffle_stimuli
from phosphene.runs.recipe import Recipe
from phosphene.runs.scoring import score
from phosphene.simulate.study import simulate
from phosphene.utils.checksums import SUMS

SETTINGS = {
    "training.epochs": 4,
    "evaluation.n_boot": 200,
    "evaluation.n_perm": 200,
    "generator.steps": 2,
    "protocol.average_test": 0,
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "s"
    return simulate(folder, n_train_pictures=240, n_test_pictures=48, train_repeats=1, test_repeats=4, snr_db=5.0)


@pytest.fixture(scope="module")
def recipe(study):
    return Recipe.read("demo", {"dataset.root": str(study), **SETTINGS})


@pytest.fixture(scope="module")
def finished(recipe, tmp_path_factory):
    experiment = Experiment(recipe, tmp_path_factory.mktemp("runs") / "a")
    experiment.run()
    score(experiment)
    return experiment


def scores(experiment, name="scores"):
    return pd.read_csv(experiment.out / f"{name}.csv").set_index("metric")


def test_scores_have_their_columns_and_stand_above_their_controls(finished):
    table = pd.read_csv(finished.out / "scores.csv")
    assert tuple(table.columns) == COLUMNS
    table = table.set_index("metric")
    control = scores(finished, "scores_shuffled")
    assert {"image_top1", "image_top5", "concept_top1", "caption_object_top1", "drawn_2way", "drawn_object"} <= set(
        table.index
    )
    assert table.loc["image_top5", "p"] < 0.01
    assert table.loc["image_top5", "ci_low"] > table.loc["image_top5", "chance"]
    assert control.loc["image_top5", "p"] > 0.01
    assert table.loc["image_top5", "shuffled"] == pytest.approx(control.loc["image_top5", "value"])
    asked = table[table.index.str.match("image_|concept_|within_|caption_")]
    better = np.where(asked.index == "image_median_rank", -1, 1)
    assert (better * (asked["ceiling"] - asked["value"]) >= 0).all()
    assert asked.loc["image_top1", "ceiling"] > 0.95
    assert table["ceiling"].notna().sum() == len(asked) >= 12
    assert control["ceiling"].isna().all()
    assert (table["protocol"] == finished.protocol.hash).all()
    assert (table["ci_low"] <= table["value"]).all()
    assert (table["value"] <= table["ci_high"]).all()
    assert table.loc["image_top1", "n"] == 48
    assert table.loc["image_top1", "chance"] == pytest.approx(1 / 48, abs=0.01)
    assert table["backbone"].str.contains("mini").all()


def test_no_ceiling_where_the_study_is_gone_or_the_trials_are_others(finished, tmp_path):
    again = Experiment.open(finished.out)
    again.recipe = again.recipe.model_copy(update={"dataset": {**again.recipe.dataset, "root": str(tmp_path / "gone")}})
    assert ceilings(again) == {}
    again = Experiment.open(finished.out)
    again.trials = replace(again.trials, eeg=2 * again.trials.eeg)
    assert ceilings(again) == {}


def test_one_picture_is_drawn_for_each_test_picture_and_each_training(finished):
    (fold,) = finished.folds
    for shuffled in (False, True):
        assert all(finished.picture(fold, i, shuffled=shuffled).is_file() for i in range(48))


def test_a_run_that_is_drawn_loads_no_method_to_draw(finished, monkeypatch):
    for name in ("method", "conditioning"):
        monkeypatch.setattr(Experiment, name, None)
    finished.draw()


def test_the_true_picture_is_found_where_the_scores_say(finished):
    (fold,) = finished.folds
    retrieved = finished.retrieve(fold)
    hits = (retrieved["picture_1"] == retrieved["stimulus"]).mean()
    assert hits == pytest.approx(scores(finished).loc["image_top1", "value"])


def test_a_stopped_run_goes_on_without_doing_finished_work_again(finished, recipe, tmp_path, monkeypatch):
    """Stopped while drawing: trials, models and the first pictures stay as they were, and the end is that of another
    run of the same seed."""
    from phosphene.generators.diffusion import Diffusion

    draw, calls = Diffusion.__call__, []

    def stop_at_second(self, conditioning, **arguments):
        calls.append(len(conditioning))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return draw(self, conditioning, **arguments)

    experiment = Experiment(recipe, tmp_path / "c")
    monkeypatch.setattr(Diffusion, "__call__", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        experiment.run()
    kept = {p: p.stat().st_mtime_ns for p in experiment.out.rglob("*") if p.is_file() and p.name != SUMS}
    assert not [p for p in kept if p.name.startswith(".")]
    monkeypatch.setattr(Diffusion, "__call__", draw)
    again = Experiment.open(experiment.out)
    again.run()
    assert all(p.stat().st_mtime_ns == t for p, t in kept.items())
    made = [p.relative_to(finished.out) for part in ("folds", "images") for p in (finished.out / part).rglob("*.*")]
    decisive = [p for p in made if p.is_relative_to("images") or "decoded" in p.parts]  # of these scores are made
    assert len(decisive) > 2 * 48
    assert all((experiment.out / p).read_bytes() == (finished.out / p).read_bytes() for p in decisive)


def test_another_recipe_is_refused_in_the_same_folder(finished, recipe):
    other = Recipe.read(recipe.model_dump(mode="json"), {"protocol.seed": 5})
    with pytest.raises(PhospheneError, match="holds a run of another recipe"):
        Experiment(other, finished.out)


def test_a_folder_written_before_a_key_existed_goes_on(finished, tmp_path):
    written = yaml.safe_load((finished.out / "config.yaml").read_text())
    for part, key in ((written, "captions"), (written["training"], "stages"), (written["evaluation"], "transductive")):
        part.pop(key)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(written))
    Experiment(finished.recipe, tmp_path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**written, "nonsense": 1}))
    with pytest.raises(PhospheneError, match="holds a run of another recipe"):
        Experiment(finished.recipe, tmp_path)


def test_a_bad_source_leaves_no_run_folder(recipe, tmp_path):
    other = Recipe.read(recipe.model_dump(mode="json"), {"dataset.root": str(tmp_path / "nowhere")})
    with pytest.raises(PhospheneError, match="does not exist"):
        Experiment(other, tmp_path / "d").run()
    assert not (tmp_path / "d").exists()


def test_the_record_says_what_was_run(finished):
    config = yaml.safe_load((finished.out / "config.yaml").read_text())
    assert config["method"]["name"] == "nice"
    provenance = yaml.safe_load((finished.out / "provenance.json").read_text())
    assert provenance["protocol_hash"] == finished.protocol.hash
    assert provenance["overlaps"]["01-test"]["concept"] == 0
    assert provenance["overlaps"]["01-test"]["stimulus"] == 0
    assert provenance["backbones"]["mini"]
    assert (finished.out / "log.jsonl").read_text().count("\n") == 2 * (4 + 1)


def test_decoding_saved_trials_gives_what_the_run_gave(finished, tmp_path):
    (fold,) = finished.folds
    test = Trials.load(finished.out / "trials").select(split="test")
    out = finished.decode(test, tmp_path / "decoded")
    table, heads = finished.decoded(fold)
    retrieved = pd.read_csv(out / "retrieved.csv")
    assert list(retrieved["stimulus"]) == list(table["stimulus"])
    from safetensors.torch import load_file

    again = load_file(out / "decoded.safetensors")["head.image"]
    np.testing.assert_allclose(again, heads["image"], rtol=1e-3, atol=1e-4)
    assert len([*(out / "images").glob("*.png")]) == 48
    with pytest.raises(PhospheneError, match="exists already"):
        finished.decode(test, out)
    other = tmp_path / "other"
    saved = test.select([0, 1]).save(tmp_path / "saved")
    once = {p: p.stat().st_mtime_ns for p in finished.decode(saved, tmp_path / "again").rglob("*")}
    finished.decode(saved, tmp_path / "again")
    assert once == {p: p.stat().st_mtime_ns for p in (tmp_path / "again").rglob("*")}  # it was finished
    with pytest.raises(PhospheneError, match="exists already"):
        finished.decode(test.select([0, 1, 2]).save(tmp_path / "three"), tmp_path / "again")
    with pytest.raises(PhospheneError, match=r"trained on \d+ channels, and these trials lack \d+ of them: 'Fp1'"):
        finished.decode(test.pick(["Oz", "Cz"]), other)
    with pytest.raises(PhospheneError, match="about 1,000,000 times as large as those that the run was trained on"):
        finished.decode(replace(test, eeg=1e6 * np.asarray(test.eeg)), other)
    turned = finished.decode(test.pick(test.signal.ch_names[::-1]).select(np.arange(len(test)) < 8), other)
    assert len(pd.read_csv(turned / "retrieved.csv")) <= 8


def test_a_missing_picture_is_named(study, tmp_path):
    copy = tmp_path / "study"
    shutil.copytree(study, copy)
    victim = next((copy / "stimuli").rglob("test-*.png"))
    victim.unlink()
    recipe = Recipe.read("demo", {"dataset.root": str(copy), **SETTINGS})
    with pytest.raises(PhospheneError, match=rf"picture .*{victim.name}.* is missing"):
        Experiment(recipe, tmp_path / "run").run()


def test_the_control_keeps_the_eeg_and_breaks_the_pairs():
    trials = make_trials(subjects=("01", "02"), repeats=8)
    control = shuffle_stimuli(trials, 0)
    np.testing.assert_array_equal(control.eeg, trials.eeg)
    assert sorted(control.table["stimulus"]) == sorted(trials.table["stimulus"])
    assert (control.table["stimulus"] == trials.table["stimulus"]).mean() < 0.3
    assert (control.table["subject"] == trials.table["subject"]).all()
    assert (control.table["concept"] == "c" + control.table["stimulus"].str[1]).all()


def test_the_control_exchanges_within_a_session_alone():
    """Else what differs between sessions (days, caps) would be read from it, and chance would not be what it says."""
    trials = make_trials(subjects=("01", "02"), repeats=4)
    table = trials.table.copy()
    table["session"] = np.where(table["stimulus"].str[1].astype(int) % 2, "01", "02")  # each has pictures of its own
    control = shuffle_stimuli(replace(trials, table=table), 0)
    shown = [t.groupby(["subject", "session"])["stimulus"].agg(sorted) for t in (table, control.table)]
    assert shown[0].to_dict() == shown[1].to_dict()
    assert (control.table["stimulus"] == table["stimulus"]).mean() < 0.4


def test_the_whitening_of_a_run_has_seen_no_test_trial(tmp_path):
    trials = make_trials(tmp_path / "pictures", n_concepts=8, n_times=100)
    tested = (trials.table["split"] == "test").to_numpy()
    found = []
    for factor in (1.0, 30.0):
        eeg = np.where(tested[:, None, None], factor, 1).astype(np.float32) * trials.eeg
        replace(trials, eeg=eeg).save(tmp_path / f"{factor}")
        recipe = Recipe.read(
            {
                "name": "x",
                "dataset": {"name": "arrays", "root": str(tmp_path / f"{factor}")},
                "whitening": "epochs",
                "method": {"name": "ridge"},
                "preprocessing": {},
            }
        )
        experiment = Experiment(recipe, tmp_path / f"run{factor}")
        ((train, _, test), whiteners) = experiment.samples(experiment.folds[0])
        (whitener,) = whiteners.values()
        found.append((whitener.whitening_, np.asarray(train.eeg[:]), np.asarray(test.eeg[:])))
    for place in (0, 1):
        np.testing.assert_array_equal(found[0][place], found[1][place])
    np.testing.assert_allclose(30 * found[0][2], found[1][2], rtol=1e-4, atol=1e-4)


def test_the_ideal_observer_hears_no_more_than_the_run(finished, tmp_path):
    """What is silenced is silent for it too: of the time before the response it reads next to nothing."""
    folder = without_checksums(Path(shutil.copytree(finished.out, tmp_path / "run")))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, "silenced_outside": [0.0, 0.03]}))
    whole, silent = (ceilings(e)["01", "image_top1"] for e in (finished, Experiment.open(folder)))
    assert whole > 0.95
    assert silent < 0.3


def test_a_run_of_atm_draws_from_prior_and_low_level_path(finished, study, tmp_path):
    recipe = Recipe.read(
        "atm",
        {
            "dataset.root": str(study),
            **SETTINGS,
            "training.epochs": 1,
            "evaluation.shuffled_control": False,
            "training.stages": {"prior": {"epochs": 2}, "low_level": {"epochs": 3}},
            "method.low_level": "small",
            "method.strength": 0.75,
            "protocol.val_fraction": 0.1,
            "generator.steps": 4,
        },
    )
    experiment = Experiment(recipe, tmp_path / "atm")
    experiment.adopt(finished.trials, {})
    experiment.train()
    fold = experiment.folds[0]
    conditioning = experiment.conditioning(fold)
    assert conditioning.given() == {"image_embeds", "init", "strength"}
    assert conditioning.strength == 0.75
    pictures = experiment.generator()(conditioning.rows([0, 1]), seed=0)
    assert [len(p) for p in pictures] == [1, 1]
    stages = [json.loads(line)["stage"] for line in (experiment.out / "log.jsonl").read_text().splitlines()]
    assert stages == ["align", "prior", "prior", "low_level", "low_level", "low_level"]
