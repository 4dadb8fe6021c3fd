"""Repeats averaged at test and representational similarity: a finished run is decoded again and not trained."""

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from phosphene.analyses import repeats, similarity
from phosphene.analyses.repeats import Reaveraged, reaveraged
from phosphene.analyses.similarity import COLUMNS
from phosphene.errors import PhospheneError
from phosphene.report.words import words
from phosphene.runs.experiment import Experiment
from phosphene.runs.recipe import Recipe
from phosphene.runs.scoring import score

pytestmark = pytest.mark.usefixtures("scores_alone")


@pytest.fixture(scope="module")
def run(cheap, scores_alone, tmp_path_factory):
    """Two people; every test picture has four repeats."""
    overrides = {
        **cheap,
        "evaluation.shuffled_control": True,
        "evaluation.transductive": True,
        "training.epochs": 3,
        "evaluation.n_boot": 20,
        "evaluation.n_perm": 39,
    }
    experiment = Experiment(Recipe.read("demo", overrides), tmp_path_factory.mktemp("run") / "r")
    experiment.run()
    score(experiment)
    return experiment


def read(path):
    return pd.read_csv(path, dtype={"subject": str, "protocol": str})


def test_all_repeats_are_the_run_itself_and_fewer_are_all_used(run):
    own = (run.out / "scores.csv").read_bytes()
    kept = {p: p.stat().st_mtime_ns for p in (run.out / "folds").rglob("*") if p.is_file()}
    out = repeats(run.out, [2, 4])
    table = read(out / "repeats.csv")
    assert list(dict.fromkeys(table["n_repeats"])) == [2, 4]
    top = table[(table["metric"] == "image_top1") & (table["subject"] == "all")].set_index("n_repeats")
    assert top["n"].to_dict() == {2: 160, 4: 80}
    assert top.index.name == "n_repeats"
    reference = read(run.out / "scores.csv").set_index(["subject", "metric"])
    rows = table[table["n_repeats"] == 4].set_index(["subject", "metric"])
    for column in ("value", "ci_low", "ci_high", "p", "shuffled"):
        np.testing.assert_allclose(rows[column], reference.loc[rows.index, column])
    assert top["chance"].to_numpy() == pytest.approx([1 / 40] * 2)
    assert len(set(top["protocol"])) == 2
    assert matplotlib.image.imread(out / "repeats.png").shape[0] > 100
    assert (run.out / "scores.csv").read_bytes() == own
    assert {p: p.stat().st_mtime_ns for p in (run.out / "folds").rglob("*") if p.is_file()} == kept


def test_a_recipe_asks_for_scores_of_the_whole_set_and_they_stand_apart(run):
    table = read(run.out / "scores.csv")
    joint = table[(table["subject"] == "all") & table["metric"].str.startswith("transductive_")].set_index("metric")
    assert len(joint) == 5
    assert (joint["n"] == 80).all()
    assert joint.loc["transductive_assignment_top1", "chance"] == pytest.approx(1 / 40)
    assert {words(metric).group for metric in joint.index} == {words("transductive_csls_top1").group}
    assert words("transductive_csls_top1").group != words("image_top1").group
    own = Recipe.model_validate({**run.recipe.model_dump(), "evaluation": {}})
    assert not own.evaluation.transductive


def test_a_mean_is_of_successive_repeats_and_of_the_methods_own_output(run, tmp_path):
    view = reaveraged(run, [3], tmp_path)[3]
    fold, own = view.folds[0], run.folds[0]
    assert fold.test.sum() == 120  # the fourth repeat is left over
    assert own.test.sum() == 160
    table, heads = view.decoded(fold)
    assert (table["n_averaged"] == 3).all()
    (_, _, test), _ = Reaveraged(run, 1, tmp_path / "x").samples(own)
    name = table["stimulus"][7]
    rows = np.flatnonzero((test.table["stimulus"] == name).to_numpy())[:3]
    mean = test.select(rows).average(3)
    np.testing.assert_allclose(heads["image"][7].numpy(), run.method(own).encode(mean)["image"][0].numpy(), atol=1e-5)


def test_what_is_decoded_is_kept(run, tmp_path):
    reaveraged(run, [2], tmp_path)
    kept = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.safetensors")}
    assert len(kept) == 4  # two people, each with a control
    reaveraged(run, [2], tmp_path)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.safetensors")} == kept


@pytest.mark.parametrize("count", [0, 5])
def test_more_repeats_than_there_are_is_refused(run, count):
    with pytest.raises(PhospheneError, match="every test picture has 4, give 1 to 4"):
        repeats(run.out, [count])


@pytest.fixture(scope="module")
def similar(run):
    return similarity(run.out)


def test_similarity_of_a_run(run, similar):
    out = similar
    table = read(out / "similarity.csv")
    assert tuple(table.columns) == COLUMNS
    assert set(zip(table["subject"], table["against"], strict=True)) == {
        (s, a) for s in ("01", "02", "all") for a in ("pictures", "concepts")
    }
    assert (table["n"] == 40).all()
    joint = table.set_index(["subject", "against"])
    assert table["shuffled"].between(-1, 1).all()
    assert joint.loc[("all", "pictures"), "rho"] > joint.loc[("all", "concepts"), "rho"]
    assert joint.loc[("all", "pictures"), "p"] == pytest.approx(1 / 40)
    assert joint.loc[("01", "pictures"), "ceiling_of"] == "repeats"
    assert joint.loc[("all", "pictures"), "ceiling_of"] == "subjects"
    assert table["ceiling_high"].between(0, 1).all()
    assert joint.loc[("all", "pictures"), "ceiling_low"] < joint.loc[("all", "pictures"), "ceiling_high"]
    listed = pd.read_csv(out / "similarity-stimuli.csv")
    assert sorted(listed["stimulus"]) == sorted(set(run.trials.table["stimulus"][run.folds[0].test]))
    picture = matplotlib.image.imread(out / "similarity.png")
    assert picture.shape[1] > 2.5 * picture.shape[0]  # three matrices beside each other


def test_similarity_is_of_what_the_run_decoded(run, similar):
    """By hand, for one subject against the pictures."""
    table = read(similar / "similarity.csv").set_index(["subject", "against"])
    fold = run.folds[0]
    decoded, pictures = run.decoded(fold)[0], run.gallery(fold)[0]
    pictures = pictures.loc[decoded["stimulus"]]
    upper = np.triu_indices(40, 1)
    one = pd.Series(np.corrcoef(run.points(fold))[upper])
    other = pd.Series(np.corrcoef(run.method(fold).pictures(pictures).numpy())[upper])
    assert table.loc[("01", "pictures"), "rho"] == pytest.approx(one.corr(other, method="spearman"), abs=1e-6)


def test_the_figure_may_be_ordered_by_a_column(run, similar):
    similarity(run.out, order="concept")
    assert pd.read_csv(similar / "similarity-stimuli.csv")["concept"].is_monotonic_increasing
    with pytest.raises(PhospheneError, match="unknown order 'concpt': did you mean 'concept'"):
        similarity(run.out, order="concpt")
