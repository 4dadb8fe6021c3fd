"""Windows, regions and encoders: grids of ordinary runs, their tables and figures."""

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from phosphene.analyses import ANALYSES, call, encoders, figures, growing_windows, regions, sliding_windows
from phosphene.errors import PhospheneError
from phosphene.evaluation.corrections import corrected
from phosphene.runs.experiment import Experiment
from phosphene.runs.recipe import Recipe

pytestmark = pytest.mark.usefixtures("scores_alone")

ONE = {"dataset.subject": "01"}


def read(path):
    return pd.read_csv(path, dtype={"subject": str, "protocol": str})


def is_a_figure(path):
    picture = matplotlib.image.imread(path)
    return picture.shape[0] > 100 and len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 5


@pytest.fixture(scope="module")
def grown(cheap, scores_alone, tmp_path_factory):
    out = tmp_path_factory.mktemp("grown") / "g"
    return growing_windows(
        "demo", [0.1, 0.3], shape="cut", overrides={**cheap, **ONE, "evaluation.shuffled_control": True}, out=out
    )


def test_growing_windows_are_runs_on_windows_and_a_table_of_their_scores(grown):
    table = read(grown / "growing-windows.csv")
    assert list(dict.fromkeys(table["variant"])) == ["whole", "from+0to+100ms", "from+0to+300ms"]
    assert table.groupby("variant", sort=False)["tmax"].first().round(3).tolist() == [0.6, 0.1, 0.3]
    assert (table["tmin"] == 0).all()
    for variant in set(table["variant"]):
        own = read(grown / variant / "scores.csv").set_index("metric")
        rows = table[table["variant"] == variant].set_index("metric")
        pd.testing.assert_series_equal(rows["value"], own["value"])
        assert rows.loc["image_top5", "shuffled"] == own.loc["image_top5", "shuffled"]
    assert Experiment.open(grown / "from+0to+100ms").trials.times[-1] < 0.1
    assert len({(grown / v / "trials" / "eeg.npy").stat().st_size for v in set(table["variant"])}) == 1
    others = table[(table["variant"] != "whole") & (table["metric"] == "image_top1")]
    np.testing.assert_allclose(others["p_corrected"], corrected(others["p"].to_numpy()))
    assert table.loc[table["variant"] == "whole", "p_corrected"].isna().all()
    assert set(pd.read_csv(grown / "differences.csv")["reference"]) == {"whole"}
    assert is_a_figure(grown / "growing-windows.png")


@pytest.mark.slow
def test_an_analysis_goes_on_where_it_stopped_and_takes_more_windows(grown, cheap):
    kept = {path: path.stat().st_mtime_ns for path in grown.rglob("*.safetensors")}
    before = read(grown / "growing-windows.csv")
    overrides = {**cheap, **ONE, "evaluation.shuffled_control": True}
    growing_windows("demo", [0.1, 0.3, 0.2], shape="cut", overrides=overrides, out=grown)
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    after = read(grown / "growing-windows.csv")
    assert set(after["variant"]) - set(before["variant"]) == {"from+0to+200ms"}
    same = after["variant"].isin(before["variant"])
    assert after.loc[same, "value"].tolist() == before["value"].tolist()


def test_what_cannot_be_is_refused_before_anything_is_trained(cheap, tmp_path):
    def asked(analysis, *given, **arguments):
        return analysis("demo", *given, overrides={**cheap, **ONE}, out=tmp_path / analysis.__name__, **arguments)

    for analysis, given, arguments, message in (
        (growing_windows, [[0.9]], {}, "window 0 to 0.9 s is not within the trials"),
        (growing_windows, [[0.1]], {"start": 0.2}, "window 0.2 to 0.1 s is not within"),
        (growing_windows, [[0.1]], {"shape": "cur"}, "did you mean 'cut'"),
        (sliding_windows, [], {"width": 0.0}, "give positive numbers"),
        (sliding_windows, [], {"width": 2.0}, "no window of 2 s fits"),
        (regions, [{"back": ["Ozz"]}], {}, "channel 'Ozz' is not in the recording: did you mean"),
        (regions, [{"back": []}], {}, "a region is empty"),
        (encoders, [["projection"]], {}, "two encoders or more"),
        (encoders, [["projection", "nise"]], {}, "did you mean 'nice'"),
    ):
        with pytest.raises(PhospheneError, match=message):
            asked(analysis, *given, **arguments)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_an_analysis_is_called_by_its_name(grown, cheap):
    overrides = {**cheap, **ONE, "evaluation.shuffled_control": True}
    arguments = {"ends": [0.1, 0.3], "shape": "cut", "overrides": overrides, "out": grown}
    assert call("growing-windows", "demo", arguments) == grown
    for name, given, message in (
        ("growing", {}, "did you mean 'growing-windows'"),
        ("growing-windows", {"end": [0.1]}, "unknown argument 'end' of growing-windows: did you mean 'ends'"),
        ("encoders", {}, "encoders needs encoders"),
        ("repeats", {"out": "x"}, "unknown argument 'out' of repeats"),
    ):
        with pytest.raises(PhospheneError, match=message):
            call(name, "demo", given)
    assert all(name.replace("-", "_") == analysis.__name__ for name, analysis in ANALYSES.items())


def test_sliding_windows_hear_their_own_samples_alone(cheap, tmp_path):
    out = sliding_windows(
        "demo", width=0.2, start=0.3, stop=0.5, overrides={**cheap, **ONE, "training.epochs": 1}, out=tmp_path / "g"
    )
    table = read(out / "sliding-windows.csv")
    assert list(dict.fromkeys(table["variant"])) == ["whole", "from+300to+500ms"]
    experiment = Experiment.open(out / "from+300to+500ms")
    whole = Experiment.open(out / "whole")
    (train, _, test), _ = experiment.samples(experiment.folds[0])
    (_, _, reference), _ = whole.samples(whole.folds[0])
    heard = np.isin(test.times.round(6), whole.trials.crop(0.3, 0.5).times.round(6))
    assert heard.sum() == 25
    assert test.n_times == reference.n_times
    np.testing.assert_array_equal(test.eeg[:, :, heard], reference.eeg[:, :, heard])
    assert not np.any(test.eeg[:, :, ~heard])
    assert not np.any(train.eeg[:, :, ~heard])
    assert is_a_figure(out / "sliding-windows.png")


@pytest.mark.slow
def test_nothing_is_read_before_a_picture_and_most_when_the_response_is_there(cheap, tmp_path):
    overrides = {**cheap, **ONE, "training.epochs": 15, "window": None, "preprocessing.phase": "minimum"}
    out = sliding_windows("demo", width=0.1, step=0.15, start=-0.1, overrides=overrides, out=tmp_path / "g")
    table = read(out / "sliding-windows.csv")
    top = table[table["metric"] == "image_top5"].set_index("variant")
    before = top.loc["from-100to+0ms"]
    assert before["p"] > 0.01
    assert top["value"].max() > before["value"] + 0.1


@pytest.mark.slow
def test_the_ideal_observer_is_told_windows_and_channels(cheap, tmp_path):
    from phosphene.runs.ceiling import Ceiling

    back = ["O1", "Oz", "O2", "POz", "PO3", "PO4"]
    asked = {
        "all": {},
        "back": {"channels": back},
        "late": {"silenced_outside": [0.3, 0.5]},
        "cut": {"window": [0.3, 0.5]},
    }
    found = {}
    for name, changes in asked.items():
        recipe = Recipe.read("demo", {**cheap, **ONE, "training.epochs": 1, **changes})
        experiment = Experiment(recipe, tmp_path / name)
        experiment.run()
        found[name] = Ceiling(experiment).log_posterior(experiment.folds[0])
        truth = experiment.gallery(experiment.folds[0])[1]
    assert all(posterior is not None for posterior in found.values())
    np.testing.assert_allclose(found["late"], found["cut"])
    hits = {name: np.mean(p.argmax(axis=1) == truth) for name, p in found.items()}
    assert hits["all"] >= max(hits["back"], hits["late"]) > 0.2


def test_regions_are_runs_on_their_channels(cheap, tmp_path):
    chosen = {"back": ["O1", "Oz", "O2", "POz"]}
    out = regions("demo", chosen, overrides={**cheap, **ONE, "training.epochs": 1}, out=tmp_path / "g")
    table = read(out / "regions.csv")
    assert table.groupby("variant", sort=False)["n_chans"].first().to_dict() == {"whole": 63, "back": 4}
    assert Experiment.open(out / "back").trials.signal.ch_names == tuple(chosen["back"])
    channels = pd.read_csv(out / "channels.csv", keep_default_na=False).set_index("channel")
    assert len(channels) == 63
    assert channels.loc["Oz", ["region", "by"]].tolist() == ["back", "given"]
    assert channels.loc["Cz", ["region", "by"]].tolist() == ["", "left out"]
    assert is_a_figure(out / "regions.png")


@pytest.mark.slow
def test_five_regions_of_a_finished_run(cheap, tmp_path):
    run = Experiment(Recipe.read("demo", {**cheap, **ONE, "training.epochs": 1}), tmp_path / "run").run()
    out = regions(run, out=tmp_path / "g")
    table = read(out / "regions.csv")
    sizes = table.groupby("variant", sort=False)["n_chans"].first()
    assert sizes.to_dict() == {
        "whole": 63,
        "frontal": 15,
        "central": 14,
        "temporal": 10,
        "parietal": 16,
        "occipital": 8,
    }


@pytest.mark.slow
def test_encoders_side_by_side_with_paired_differences_and_seeds(cheap, tmp_path):
    given = {"small": {"method.encoder_args": {"input_dropout": 0.5}}, "full": {}}
    out = encoders(
        "demo",
        given,
        overrides={**cheap, **ONE, "training.epochs": 1},
        seeds=[0, 1],
        metrics=["image_top5"],
        out=tmp_path / "g",
    )
    table = read(out / "encoders.csv")
    rows = table[table["metric"] == "image_top5"]
    assert list(rows["variant"]) == ["small", "small", "full", "full"]
    assert list(rows["seed"]) == [0, 1, 0, 1]
    differences = pd.read_csv(out / "differences.csv")
    assert set(differences["variant"]) == {"full"}
    assert set(differences["reference"]) == {"small"}
    own = figures.summary(table, "image_top5").set_index("variant")
    values = rows[rows["variant"] == "small"]["value"]
    assert own.loc["small", ["value", "low", "high"]].tolist() == [values.mean(), values.min(), values.max()]
    assert is_a_figure(out / "encoders.png")


def test_names_of_encoders_and_methods_are_changes_of_the_recipe():
    from phosphene.analyses.variants import _changes

    recipe = Recipe.read("demo", {"dataset.root": "somewhere"})
    assert _changes("projection", recipe) == {}
    assert _changes("nice", recipe) in ({"method.encoder": "nice", "method.encoder_args": {}},)
    assert _changes("semantic_prompts", recipe) == {"method": {"name": "semantic_prompts", "backbone": "mini"}}
    for name in ("nice", "semantic_prompts"):
        Recipe.read("demo", {"dataset.root": "somewhere", **_changes(name, recipe)})


def test_a_figure_of_an_unknown_score_names_the_nearest(grown):
    table = read(grown / "growing-windows.csv")
    with pytest.raises(PhospheneError, match="no run has a score 'image_topp5': did you mean 'image_top5'"):
        figures.over_time(table, ["image_topp5"], "whole", growing=True)
