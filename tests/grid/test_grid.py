"""Grids: files are checked before anything starts, runs are ordinary run folders, tables hold what the runs hold."""

import shutil

import numpy as np
import pandas as pd
import pytest
import yaml

from phosphene.errors import PhospheneError
from phosphene.evaluation.corrections import corrected
from phosphene.grid import COLUMNS, DIFFERENCES, SHIPPED, Grid, only_runs, run_grid
from phosphene.runs.compare import compare_runs
from phosphene.runs.experiment import Experiment
from phosphene.runs.recipe import SHIPPED as RECIPES
from phosphene.simulate.study import simulate

MINIMAL = {
    "name": "g",
    "recipe": "demo",
    "set": {"dataset.root": "somewhere", "generator": None},
    "variants": {"cosine": None, "mixed": {"method.cosine_weight": 0.5}},
}


@pytest.fixture(scope="module", autouse=True)
def _no_ideal_observer():
    """It takes longer than all the rest, and is asked elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("phosphene.runs.scoring.ceilings", lambda experiment: {})
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "s"
    return simulate(
        folder, n_subjects=2, n_train_pictures=40, n_test_pictures=40, train_repeats=1, test_repeats=1, snr_db=5.0
    )


@pytest.fixture(scope="module")
def plan(study):
    """Two seeds of three variants: the reference, one on the same samples, one of another protocol."""
    return {
        "name": "tiny",
        "description": "Three variants",
        "recipe": "demo",
        "set": {
            "dataset.root": str(study),
            "generator": None,
            "training.epochs": 2,
            "evaluation.n_boot": 100,
            "evaluation.n_perm": 100,
            "evaluation.shuffled_control": False,
        },
        "variants": {
            "small": {"method.encoder_args": {"input_dropout": 0.5}},
            "full": {"evaluation.shuffled_control": True},
            "cross": {
                "protocol.split": "leave_one_subject_out",
                "protocol.subjects": "joint",
                "protocol.and_given": True,
            },
        },
        "reference": "full",
        "seeds": [0, 3],
        "metrics": ["image_top5", "image_median_rank", "image_top7"],
    }


@pytest.fixture(scope="module")
def finished(plan, tmp_path_factory):
    return run_grid(plan, out=tmp_path_factory.mktemp("grid") / "g")


# -- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_grid_is_valid_and_is_no_recipe(name):
    grid = Grid.read(name, {"dataset.root": "somewhere"})
    cells = grid.cells()
    assert [cell.folder for cell in cells] == list(grid.variants)
    configs = [cell.recipe.model_dump(mode="json", exclude={"name", "description"}) for cell in cells]
    assert all(configs.count(config) == 1 for config in configs)
    assert name not in RECIPES
    assert len(SHIPPED) >= 2


def test_a_variant_is_the_recipe_with_its_own_changes_last():
    grid = Grid.read({**MINIMAL, "seeds": [4, 5]}, {"method.cosine_weight": 0.25, "training.epochs": 3})
    cells = {cell.folder: cell.recipe for cell in grid.cells()}
    assert list(cells) == ["cosine-seed4", "cosine-seed5", "mixed-seed4", "mixed-seed5"]
    assert [r.protocol.seed for r in cells.values()] == [4, 5, 4, 5]
    assert [r.method["cosine_weight"] for r in cells.values()] == [0.25, 0.25, 0.5, 0.5]
    assert {r.training.epochs for r in cells.values()} == {3}
    assert cells["mixed-seed4"].name == "g/mixed"
    assert grid.reference == "cosine"


def test_a_recipe_is_named_written_out_or_lies_beside_its_grid(tmp_path):
    own = yaml.safe_load(RECIPES["demo"].read_text())
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({**own, "description": "mine"}))
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump({**MINIMAL, "recipe": "own.yaml"}))
    assert {cell.recipe.description for cell in Grid.read(tmp_path / "grid.yaml").cells()} == {"mine"}
    inline = Grid.read({**MINIMAL, "recipe": {**own, "description": "here"}})
    assert {cell.recipe.description for cell in inline.cells()} == {"here"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"varaints": {}}, "the grid: unknown key 'varaints': did you mean 'variants'"),
        ({"variants": {}}, "variants: .*at least 1"),
        ({"variants": ["a"]}, "variants: .*given: "),
        ({"variants": {"a/b": None}}, "variant 'a/b' cannot name a folder"),
        ({"variants": {"a": {"method.encodr": "nice"}}}, "variant 'a': .*'encodr' .*did you mean 'encoder'"),
        ({"variants": {"a": {"trainin.epochs": 1}}}, "variant 'a': .*'trainin': did you mean 'training'"),
        ({"variants": {"a": None, "A": None}}, "two runs would share the folder 'a'"),
        ({"reference": "mixt"}, "unknown reference 'mixt': did you mean 'mixed'"),
        ({"seeds": []}, "seeds: "),
        ({"seeds": [1, 1]}, "name each once"),
        ({"seeds": [-1]}, "variant 'cosine': .*protocol.seed"),
        ({"seeds": [1], "set": {"protocol.seed": 2}}, "protocol.seed is set beside seeds"),
        ({"seeds": [1], "variants": {"a-seed1": None, "a": None, "A-SEED1": None}}, "share the folder"),
        ({"recipe": "dmeo"}, "variant 'cosine': recipe dmeo does not exist: did you mean 'demo'"),
        ({"metrics": []}, "metrics: "),
    ],
)
def test_bad_grids_name_the_fix_in_one_line(change, message):
    with pytest.raises(PhospheneError, match=message) as caught:
        Grid.read({**MINIMAL, **change}).cells()
    assert "\n" not in str(caught.value)


def test_unreadable_grids(tmp_path):
    with pytest.raises(PhospheneError, match="did you mean 'semantic-prompts-ablations'"):
        Grid.read("semantic-prompts-ablation")
    bad = tmp_path / "bad.yaml"
    for text, message in (
        ("a: [1", "not readable YAML"),
        ("words", "is not a grid"),
        ("name: x\nrecipe: demo", "'variants' is missing"),
    ):
        bad.write_text(text)
        with pytest.raises(PhospheneError, match=message):
            Grid.read(bad)


def test_a_wrong_variant_stops_the_grid_before_anything_is_written(plan, tmp_path):
    wrong = {**plan, "variants": {**plan["variants"], "last": {"method.loss": "mse"}}}
    with pytest.raises(PhospheneError, match="variant 'last': unknown key 'loss' of method 'nice'"):
        run_grid(wrong, out=tmp_path / "g")
    assert not (tmp_path / "g").exists()


# -- runs and tables -------------------------------------------------------------------------------


def test_every_row_of_every_run_is_in_the_table(finished):
    text = dict.fromkeys(("subject", "protocol", "interval"), str)
    table = pd.read_csv(finished / "grid.csv", dtype=text)
    assert tuple(table.columns) == COLUMNS
    for variant in ("small", "full", "cross"):
        for seed in (0, 3):
            own = pd.read_csv(finished / f"{variant}-seed{seed}" / "scores.csv", dtype=text)
            rows = table[(table["variant"] == variant) & (table["seed"] == seed)]
            pd.testing.assert_frame_equal(rows.drop(columns="variant").reset_index(drop=True), own)
    assert table.loc[table["variant"] == "full", "shuffled"].notna().any()


def test_trials_are_prepared_once_and_the_same_in_every_run(finished):
    sizes = {(finished / f / "trials" / "eeg.npy").read_bytes() for f in ("small-seed0", "full-seed3", "cross-seed0")}
    assert len(sizes) == 1
    facts = [(finished / f / "dataset.json").read_text() for f in ("small-seed0", "cross-seed3")]
    assert facts[0] == facts[1]


@pytest.mark.slow
def test_runs_share_trials_only_if_they_prepare_the_same(plan, tmp_path, monkeypatch):
    from phosphene.runs import experiment

    prepare, prepared = experiment.prepared, []

    def heard(recipe, display):
        prepared.append(recipe.name)
        return prepare(recipe, display)

    monkeypatch.setattr(experiment, "prepared", heard)
    variants = {
        "a": None,
        "window": {"window": [0.0, 0.4]},
        "rate": {"preprocessing.sfreq": 100.0},
        "b": {"whitening": None},
    }
    short = {**plan, "variants": variants, "reference": "", "seeds": None, "set": {**plan["set"], "training.epochs": 1}}
    run_grid(short, out=tmp_path / "g")
    assert prepared == ["tiny/a", "tiny/rate", "tiny/b"]
    assert Experiment.open(tmp_path / "g" / "rate").trials.signal.sfreq == 100.0
    assert (
        Experiment.open(tmp_path / "g" / "window").trials.n_times < Experiment.open(tmp_path / "g" / "a").trials.n_times
    )


def test_differences_are_those_of_compare_and_corrected_together(finished):
    table = pd.read_csv(finished / "differences.csv", dtype={"protocol": str})
    assert tuple(table.columns) == DIFFERENCES
    assert set(table["variant"]) == {"small"}
    assert list(table["metric"]) == ["image_top5", "image_median_rank"] * 2
    np.testing.assert_allclose(table["p_corrected"], corrected(table["p"].to_numpy()))
    for seed in (0, 3):
        both = compare_runs(finished / f"small-seed{seed}", finished / f"full-seed{seed}").set_index("metric")
        rows = table[table["seed"] == seed].set_index("metric")
        for column in ("a", "b", "difference", "ci_low", "ci_high", "p", "n"):
            np.testing.assert_allclose(rows[column], both.loc[rows.index, column])


def test_the_page_says_what_the_tables_hold(finished):
    page = (finished / "grid.md").read_text()
    table = pd.read_csv(finished / "grid.csv", dtype={"subject": str})
    both = table[(table["variant"] == "small") & (table["metric"] == "image_median_rank") & (table["subject"] == "all")]
    assert len(both) == 2
    row = next(line for line in page.splitlines() if line.startswith("| small |"))
    ends = sorted(f"{v:.1f}".removesuffix(".0") for v in both["value"])
    assert all(end in row for end in ends)
    assert "| small, seed 0 |" in page
    assert "| small, seed 3 |" in page
    assert "cross-seed0 is not paired: another protocol: split leave_one_subject_out, not given" in page
    assert "No run has the score 'image_top7': did you mean 'image_top" in page
    assert "corrected for the 4 differences" in page
    assert "A difference means p <= 0.05, corrected for 4 tests (Holm); p decides, not the interval." in page
    assert "Scores are based on mini" in page


@pytest.mark.slow
def test_a_grid_goes_on_where_it_stopped_and_takes_new_variants(plan, finished, tmp_path):
    out = tmp_path / "g"
    shutil.copytree(finished, out)
    whole = (out / "small-seed0" / "scores.csv").read_text()
    shutil.rmtree(out / "small-seed0" / "folds" / "02-test" / "decoded")
    for name in ("scores.csv", "report.html"):
        (out / "small-seed0" / name).unlink()
    (out / "full-seed0" / "scores.csv").touch()
    kept = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.suffix in (".safetensors", ".npy", ".html")}
    table = (out / "grid.csv").read_text()
    wider = {**plan, "variants": {**plan["variants"], "new": {"training.lr": 0.01}}}
    run_grid(wider, out=out)
    assert (out / "small-seed0" / "scores.csv").read_text() == whole
    assert all(p.stat().st_mtime_ns == t for p, t in kept.items())
    assert (out / "grid.csv").read_text().startswith(table)
    assert set(pd.read_csv(out / "differences.csv")["variant"]) == {"small", "new"}


def test_another_grid_is_refused_in_the_same_folder_before_anything_is_run(plan, finished):
    before = sorted(finished.rglob("*"))
    variants = {"added": None, **plan["variants"], "full": {"training.lr": 0.5}}
    with pytest.raises(PhospheneError, match="full-seed0 holds a run of another recipe"):
        run_grid({**plan, "variants": variants}, out=finished)
    assert sorted(finished.rglob("*")) == before


def test_heads_are_paired_where_both_runs_have_them(study, tmp_path):
    plan = {
        "name": "heads",
        "recipe": "semantic-prompts",
        "set": {
            "dataset.root": str(study),
            "generator": None,
            "training.epochs": 2,
            "evaluation.n_boot": 100,
            "evaluation.n_perm": 100,
            "evaluation.shuffled_control": False,
            "method.encoder_args": {"dim": 8, "n_sources": 4, "width": 16, "depth": 1, "n_heads": 2},
            "method.width": 32,
        },
        "variants": {"two": {"method.slots": ["KindName", "PlaceView"]}, "one": {"method.slots": ["KindName"]}},
        "metrics": ["image_top5", "caption_KindName_top1", "captions_object_top1", "caption_PlaceView_top1"],
    }
    out = run_grid(plan, out=tmp_path / "g")
    found = pd.read_csv(out / "differences.csv")
    assert list(found["metric"]) == ["image_top5", "caption_KindName_top1", "captions_object_top1"]
    scores = pd.read_csv(out / "grid.csv", dtype={"subject": str})
    for metric, value in zip(found["metric"], found["difference"], strict=True):
        own = scores[(scores["metric"] == metric) & (scores["subject"] == "all")].set_index("variant")["value"]
        assert value == pytest.approx(own["one"] - own["two"])
    assert "Not paired: caption_PlaceView_top1; no other run has this score" in (out / "grid.md").read_text()


def test_a_variant_that_was_stopped_at_its_first_file_is_no_other_thing(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / ".0123abcd.config.yaml").write_text("half")
    only_runs(tmp_path)
    (tmp_path / "one" / "thesis.txt").write_text("mine")
    with pytest.raises(PhospheneError, match="holds other things"):
        only_runs(tmp_path)
