"""Two methods, or two run folders, on the same samples: known differences, and refusals in one line."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from conftest import make_trials
from phosphene.errors import PhospheneError
from phosphene.evaluation.differences import COLUMNS, Scored, compare, lines
from phosphene.evaluation.protocols import Protocol
from phosphene.evaluation.scores import Question
from phosphene.evaluation.statistics import paired
from phosphene.runs import compare as runs
from phosphene.runs.experiment import Experiment
from phosphene.runs.recipe import Recipe


def scored(metric="image_top1", skill=0.0, seed=0, n_subjects=8, n_pictures=30, **other):
    subject, picture = np.divmod(np.arange(n_subjects * n_pictures), n_pictures)
    noise = np.random.default_rng(seed).standard_normal(len(subject))
    common = np.random.default_rng(99).standard_normal(n_pictures)[picture]
    return Scored(
        metric,
        skill + common + noise,
        np.array([f"{s}/{p}" for s, p in zip(subject, picture, strict=True)]),
        {"stimuli": picture // 3, "subjects": subject},
        np.full(len(subject), n_pictures),
        "375fa20f",
        **other,
    )


def turned(s, order):
    clusters = {name: c[order] for name, c in s.clusters.items()}
    return replace(s, values=s.values[order], samples=s.samples[order], clusters=clusters)


def test_a_row_is_the_paired_difference_of_the_same_samples():
    a, b = scored(skill=0.5), scored(seed=1)
    order = np.random.default_rng(0).permutation(len(a.values))
    table = compare([a], [turned(b, order)], n_boot=300, n_perm=300)
    assert tuple(table.columns) == COLUMNS
    row = table.iloc[0]
    known = paired(a.values, b.values, a.clusters["stimuli"], n_boot=300, n_perm=300)
    assert (row["a"], row["b"], row["difference"]) == pytest.approx((known.a, known.b, known.value))
    assert (row["ci_low"], row["ci_high"], row["p"]) == pytest.approx((known.low, known.high, known.p))
    assert row["n"] == 240
    assert row["n_clusters"] == 10
    assert row["p_corrected"] == row["p"]


def test_p_is_corrected_for_the_metrics_that_both_have():
    names = ["image_top1", "image_top5", "image_map"]
    a = [scored(m, skill=0.3 * i, seed=i) for i, m in enumerate(names)]
    b = [scored(m, seed=i + 7) for i, m in reversed(list(enumerate([*names, "extra"])))]
    table = compare(a, b, n_boot=50, n_perm=300)
    assert table["metric"].tolist() == names
    assert (table["p_corrected"] >= table["p"]).all()
    assert table["p_corrected"].min() == pytest.approx(min(1, 3 * table["p"].min()))
    assert compare(a, b, n_boot=50, n_perm=300, correction="bh")["p_corrected"].min() <= table["p_corrected"].min()


def test_over_says_whose_spread_counts():
    a, b = scored(skill=1.0), scored(seed=1)
    better_for_some = replace(a, values=a.values + 2.0 * (a.clusters["subjects"] % 2))
    rows = {
        over: compare([better_for_some], [b], over=over, n_boot=400, n_perm=300).iloc[0]
        for over in ("stimuli", "subjects", "both")
    }
    width = {over: row["ci_high"] - row["ci_low"] for over, row in rows.items()}
    assert width["subjects"] > 2 * width["stimuli"]
    assert width["both"] >= 0.95 * width["subjects"]
    assert [rows[o]["n_clusters"] for o in ("stimuli", "subjects", "both")] == [10, 8, 8]
    assert rows["subjects"]["over"] == "subjects"
    with pytest.raises(PhospheneError, match="unknown over='people': valid: both, stimuli, subjects"):
        compare([a], [b], over="people")
    alone = [scored(n_subjects=1), scored(n_subjects=1, seed=1)]
    with pytest.raises(PhospheneError, match="there is only one: use over='stimuli'"):
        compare(alone[:1], alone[1:], over="both")


def test_a_median_is_compared_as_a_median():
    a, b = (scored("image_median_rank", statistic=np.median, higher_is_better=False, seed=s) for s in (0, 1))
    row = compare([a], [b], n_boot=50, n_perm=50).iloc[0]
    assert row["a"] == np.median(a.values)
    assert not row["higher_is_better"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"protocol": "017b5fdc"}, "has protocol 375fa20f in one and 017b5fdc in the other"),
        ({"n_items": np.full(240, 31)}, "galleries of different size"),
        ({"samples": np.array(["0/0", *["x"] * 239])}, "sample 'x' is scored twice"),
        ({"metric": "caption_top1"}, r"no metric is common \(a: image_top1; b: caption_top1\)"),
    ],
)
def test_what_does_not_compare_is_refused(change, said):
    with pytest.raises(PhospheneError, match=said) as caught:
        compare([scored()], [replace(scored(seed=1), **change)])
    assert "\n" not in str(caught.value)


def test_other_samples_are_refused_by_name():
    fewer = turned(scored(seed=1), np.arange(238))
    with pytest.raises(PhospheneError, match="2 samples are only in a and 0 only in b, for instance '7/28'"):
        compare([scored()], [replace(fewer, n_items=np.full(238, 30))])


def test_drawings_are_judged_by_one_model():
    a, b = (scored("drawn_2way", seed=s, backbone=name) for s, name in enumerate(("mini", "vit-h-14")))
    with pytest.raises(PhospheneError, match="is judged by mini and by vit-h-14"):
        compare([a], [b])
    table = compare([replace(a, metric="image_top1")], [replace(b, metric="image_top1")], n_boot=50, n_perm=50)
    assert table.loc[0, ["backbone_a", "backbone_b"]].tolist() == ["mini", "vit-h-14"]  # either may choose its space


# -- run folders -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two-class runs of LDA with short and with useless features, and one of another protocol."""
    root = tmp_path_factory.mktemp("compare")
    trials = make_trials(n_concepts=2, pictures=3, repeats=24, n_runs=8, subjects=("01", "02"))
    half = trials.eeg.shape[2] // 2
    trials.eeg[:, :, :half] = np.random.default_rng(5).normal(0, 1e-6, trials.eeg[:, :, :half].shape)
    trials.save(root / "data")
    base = {
        "name": "two",
        "dataset": {"name": "arrays", "root": str(root / "data")},
        "method": {"name": "lda"},
        "protocol": {"split": "leave_one_run_out", "val_fraction": 0, "select_on": "last", "average_test": 1},
        "evaluation": {"n_boot": 200, "n_perm": 500, "shuffled_control": False},
    }
    changes = {"late": {"window": [0.1, None]}, "early": {"window": [None, 0.1]}, "other": {"protocol.seed": 3}}
    for name, change in changes.items():
        Experiment(Recipe.read(base, change), root / name).run()
    return root


def test_two_class_runs_are_compared_by_the_auc_of_each_run(folders):
    row = runs.compare_runs(folders / "late", folders / "early").iloc[0]
    assert row["metric"] == "auc_by_run"
    assert (row["n"], row["n_clusters"]) == (16, 16)
    assert row["a"] > 0.9
    assert abs(row["b"] - 0.5) < 0.15
    assert row["p"] == 1 / 501
    assert 0.3 < row["ci_low"] < row["difference"] < row["ci_high"] < 0.7
    same = runs.compare_runs(folders / "late", folders / "late").iloc[0]
    assert (same["difference"], same["ci_low"], same["ci_high"], same["p"]) == (0, 0, 0, 1)


def test_runs_of_other_protocols_are_refused_by_what_differs(folders):
    with pytest.raises(PhospheneError, match=r"has protocol 017b5fdc and .*\(protocol.seed 0 and 3\)") as caught:
        runs.compare_runs(folders / "late", folders / "other")
    assert "\n" not in str(caught.value)
    with pytest.raises(PhospheneError, match="is not a run folder"):
        runs.compare_runs(folders / "late", folders / "data")
    unfinished = folders / "unfinished"
    unfinished.mkdir()
    (unfinished / "config.yaml").write_text((folders / "late" / "config.yaml").read_text())
    with pytest.raises(PhospheneError, match="holds no trials: finish it"):
        runs.compare_runs(unfinished, folders / "late")


@pytest.mark.parametrize("average_test", [0, 1, 2])
def test_a_mean_over_repeats_is_the_same_sample_whichever_were_kept(average_test):
    trials = make_trials(n_times=4, repeats=4)
    protocol = Protocol(val_fraction=0, average_test=average_test)
    (fold,) = protocol.folds(trials)
    test = trials.select(fold.test)
    kept = [protocol.samples(test.select(test.table["repeat"].to_numpy() != r), "test").table for r in (0, 3)]
    columns = runs._TRIAL if average_test == 1 else runs._MEAN
    names = [runs._names(table, fold, columns) for table in kept]
    assert len(set(names[0])) == len(names[0])
    assert (set(names[0]) == set(names[1])) == (average_test != 1)


def test_every_draw_of_a_trial_is_in_its_sample(monkeypatch):
    trials = make_trials(n_times=4)
    protocol = Protocol(val_fraction=0, average_test=1)
    (fold,) = protocol.folds(trials)
    table = trials.table[fold.test].reset_index(drop=True)
    n = len(table)
    hits = np.random.default_rng(0).random((2 * n, 4))
    truth = np.repeat(np.arange(n) % 4, 2)
    questions = [
        Question("drawn_2way", hits, truth, np.repeat(table["concept"].to_numpy(str), 2), backbone="mini"),
        Question("image_median_rank", hits[:n], truth[:n], table["concept"].to_numpy(str), np.median, False),
    ]
    experiment = SimpleNamespace(
        folds=[fold],
        protocol=protocol,
        recipe=None,
        method=lambda: SimpleNamespace(targets=lambda: {"image": None}),
    )
    monkeypatch.setattr(runs, "read", lambda experiment, fold: SimpleNamespace(table=table))
    monkeypatch.setattr(runs, "questions", lambda *arguments: questions)
    drawn, rank = runs.scored(experiment)
    np.testing.assert_allclose(drawn.values, hits[np.arange(2 * n), truth].reshape(n, 2).mean(1))
    np.testing.assert_allclose(rank.values, hits[np.arange(n), truth[:n]])
    assert (rank.statistic, rank.higher_is_better) == (np.median, False)
    assert drawn.clusters["stimuli"].tolist() == table["concept"].tolist()
    assert drawn.protocol == protocol.hash
    assert len(set(drawn.samples)) == n == len(drawn.n_items)
    assert isinstance(compare([drawn], [drawn], n_boot=20, n_perm=20), pd.DataFrame)


def few(n_clusters, skill=5.0, metric="image_top1", **other):
    """Two methods that differ by far, on so many concepts of three pictures each."""
    return (
        scored(metric, skill=s, seed=i, n_subjects=1, n_pictures=3 * n_clusters, **other)
        for i, s in enumerate((skill, 0.0))
    )


@pytest.mark.parametrize(
    ("n_clusters", "n_perm", "said"),
    [
        (10, 2000, "image_top1: a is better (corrected p = 0.002)"),
        (6, 2000, "image_top1: a is better (corrected p = 0.031)"),
        (
            5,
            2000,
            "image_top1: undecided: no power: so few different exchanges exist that no p is below 0.062; a "
            "larger test part (concepts, trials or subjects) is needed; no interval: 5 concepts or runs are too few, 6 "
            "are needed",
        ),
        (
            10,
            10,
            "image_top1: undecided: 10 exchanges can give no p below 0.091; at least 19 are needed (evaluation.n_perm)",
        ),
    ],
)
def test_what_a_difference_says_and_the_rule(n_clusters, n_perm, said):
    a, b = few(n_clusters)
    table = compare([a], [b], n_boot=50, n_perm=n_perm)
    assert lines(table, n_perm) == [said, "A difference means p <= 0.05; p decides, not the interval."]
    assert (table["p"] >= table["p_min"]).all()


def test_the_better_one_is_named_by_the_direction_of_the_metric():
    a, b = few(10, metric="image_median_rank", higher_is_better=False)
    assert lines(compare([a], [b], n_boot=50), 2000)[0].startswith("image_median_rank: b is better")
    a, b = few(10, skill=0.0)
    assert "no difference shown" in lines(compare([a], [b], n_boot=50), 2000)[0]


def test_of_several_metrics_the_corrected_p_decides():
    names = ("image_top1", "image_top5", "image_map")
    a, b = ([scored(m, skill=s, seed=i, n_subjects=1, n_pictures=24) for m in names] for i, s in enumerate((5.0, 0.0)))
    table = compare(a, b, n_boot=50)  # 8 concepts: 2 of 256 exchanges
    assert table["p"].tolist() == [2 / 256] * 3
    assert lines(table, 2000)[-1] == (
        "A difference means p <= 0.05, corrected for 3 tests (Holm); p decides, not the interval."
    )
    assert all("a is better" in line for line in lines(table, 2000)[:-1])
    a, b = ([replace(s, clusters={**s.clusters, "stimuli": np.arange(24) // 4}) for s in side] for side in (a, b))
    table = compare(a, b, n_boot=50)  # 6 concepts: no p below 2 of 64, three times that corrected
    assert all("undecided: no power" in line for line in lines(table, 2000)[:-1])
    controlled = compare(a, b, n_boot=50, correction="bh")  # where all three are as small as can be
    assert all("a is better" in line for line in lines(controlled, 2000, "bh")[:-1])


def test_the_smallest_p_of_crossed_factors_is_that_of_draws_that_all_lie_on_one_side():
    a, b = scored(skill=9.0), scored(seed=1)
    row = compare([a], [b], over="both", n_boot=300).iloc[0]
    assert 0 < row["p_min"] <= row["p"]
