"""A simulated study on disk: disjoint concepts, tables that agree with the recordings, whole or absent."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from phosphene.captions import SLOTS
from phosphene.errors import PhospheneError
from phosphene.simulate import study
from phosphene.simulate.brain import CHANNELS, Brain
from phosphene.simulate.designs import DESIGNS, gain, phantom, rapid
from phosphene.simulate.scenes import BACKGROUNDS, COLOURS, POSITIONS, SEEN, draw_with_mask
from phosphene.simulate.study import choose_stimuli, scenes_of, simulate

SMALL = {
    "n_train_pictures": 40,
    "n_test_pictures": 10,
    "train_repeats": 1,
    "test_repeats": 3,
    "n_sessions": 2,
    "seed": 3,
}
EVENTS = ["onset", "duration", "stimulus", "concept", "split", "repeat", "block"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return simulate(tmp_path_factory.mktemp("fif") / "study", n_subjects=2, **SMALL)


@pytest.fixture(scope="module")
def bids_folder(tmp_path_factory) -> Path:
    pytest.importorskip("mne_bids")
    pytest.importorskip("pybv")
    return simulate(tmp_path_factory.mktemp("bids") / "study", fmt="brainvision", n_subjects=2, **SMALL)


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def recordings(folder: Path) -> list[dict]:
    return json.loads((folder / "dataset.json").read_text())["recordings"]


def events_of(folder: Path, recording: dict) -> pd.DataFrame:
    path = folder / recording["path"]
    return pd.read_csv(path.with_name(path.name.rsplit("_", 1)[0] + "_events.tsv"), sep="\t")


# which pictures


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_test_concepts_are_new_and_their_parts_are_not(seed: int):
    stimuli = choose_stimuli(seed=seed)
    train, test = (stimuli[stimuli["split"] == split] for split in ("train", "test"))
    assert (len(train), len(test)) == (1200, 200)
    assert (train["concept"].nunique(), test["concept"].nunique()) == (440, 40)
    assert not set(train["concept"]) & set(test["concept"])
    assert set(test["object"]) < set(train["object"]) == set(SEEN)
    assert set(test["colour"]) == set(train["colour"]) == set(COLOURS)
    assert set(test["concept"].value_counts()) == {5}
    assert set(test["colour"].value_counts()) == {20}
    assert set(test["object"].value_counts()) == {5}
    assert not test.duplicated(["object", "colour", "background", "position"]).any()
    assert not stimuli.duplicated("seed").any()
    for table in (train, test):
        for column, values in (("background", BACKGROUNDS), ("position", POSITIONS)):
            counts = table[column].value_counts()
            assert set(counts.index) == set(values)
            assert counts.max() - counts.min() < 0.12 * len(table)
        together = pd.crosstab(table["background"], table["position"])
        assert together.max().max() - together.min().min() <= 8


def test_any_number_of_pictures():
    stimuli = choose_stimuli(7, 960)
    test = stimuli[stimuli["split"] == "test"]
    assert not test.duplicated(["object", "colour", "background", "position"]).any()
    assert test["concept"].nunique() == 40
    assert stimuli.index.is_unique
    assert stimuli.index[0] == "train-0001"
    pd.testing.assert_frame_equal(choose_stimuli(7, 960), stimuli)
    assert not choose_stimuli(7, 960, seed=1).equals(stimuli)


# in which order


def test_rapid_keeps_its_rhythm():
    shown = [f"s{i}" for i in range(300) for _ in range(3)]
    table = rapid(shown, seed=0, soa=0.4, jitter=0.02, n_runs=2, per_block=100, pause=3.0)
    assert sorted(table["stimulus"]) == sorted(shown)
    assert (table["stimulus"].to_numpy()[1:] != table["stimulus"].to_numpy()[:-1]).all()
    assert table["run"].value_counts().to_dict() == {1: 450, 2: 450}
    assert table["block"].is_monotonic_increasing
    assert table["block"].nunique() == 10
    for _, run in table.groupby("run"):
        assert run["onset"].iloc[0] == 2.0
        gaps, pauses = np.diff(run["onset"]), np.diff(run["block"]) == 1
        assert np.all((gaps[~pauses] >= 0.38) & (gaps[~pauses] <= 0.42))
        assert gaps[~pauses].std() > 0.005
        assert np.all(gaps[pauses] > 3.3)
    pd.testing.assert_frame_equal(table, rapid(shown, seed=0, n_runs=2))
    assert not table.equals(rapid(shown, seed=1, n_runs=2))


def test_rapid_leaves_a_picture_next_to_itself_only_where_it_must():
    assert list(rapid(["a", "a", "a"], seed=0)["stimulus"]) == ["a", "a", "a"]
    few = rapid(["a"] * 5 + ["b"] * 5 + ["c"] * 5, seed=1)["stimulus"].to_numpy()
    assert (few[1:] != few[:-1]).all()


@pytest.mark.parametrize("arguments", [{"jitter": 0.5}, {"jitter": -0.1}, {"n_runs": 0}, {"n_runs": 9}])
def test_rapid_refuses_what_cannot_be(arguments: dict):
    with pytest.raises(PhospheneError):
        rapid(["a", "b"], seed=0, **arguments)


def test_training_and_test_are_intermixed_in_every_session():
    p = {**SMALL, "n_sessions": 2, "train_repeats": 2, "test_repeats": 10, "soa": 0.4, "sfreq": 250.0}
    stimuli = choose_stimuli(200, 40)
    sessions = study.plan_sessions(stimuli, "01", p)
    for table in sessions:
        test = (table["split"] == "test").to_numpy()
        assert 0.4 < test.mean() < 0.6
        place = np.arange(len(test)) / len(test)
        assert abs(place[test].mean() - place[~test].mean()) < 0.1
    shown = pd.concat(sessions)
    assert (shown.groupby("stimulus").size() == stimuli["split"].map({"train": 2, "test": 10}).sort_index()).all()
    for _, repeats in shown.groupby("stimulus")["repeat"]:
        assert list(repeats) == list(range(1, len(repeats) + 1))


# what lies on disk


def test_the_folder_holds_what_it_says(folder: Path):
    facts = json.loads((folder / "dataset.json").read_text())
    assert facts["simulated"] is True
    assert facts["ch_names"] == list(CHANNELS)
    assert {k: facts["parameters"][k] for k in SMALL} == SMALL
    assert facts["truth"]["02"] == json.loads(json.dumps(Brain(2, seed=3).truth()))
    stimuli = pd.read_csv(folder / "stimuli.csv")
    assert list(stimuli.columns) == [
        *("stimulus", "image", "concept", "split", "object", "colour", "background", "position", "seed"),
        *("light", "pattern", "companion", "prompt"),
        *(slot.name for slot in SLOTS),
    ]
    for row, scene in zip(stimuli.itertuples(), scenes_of(stimuli), strict=True):
        assert (row.concept, row.prompt, row.ThemeTag) == (scene.concept, scene.prompt, scene.captions["ThemeTag"])
        assert row.image.startswith({"train": "stimuli/training_images/", "test": "stimuli/test_images/"}[row.split])
    assert np.array_equal(np.asarray(Image.open(folder / row.image)), np.asarray(draw_with_mask(scene)[0]))
    assert len(facts["recordings"]) == 4
    assert facts["recordings"][0]["path"] == "sub-01/ses-01/eeg/sub-01_ses-01_task-view_run-01_raw.fif"


def test_annotations_tables_and_eeg_agree(folder: Path):
    stimuli = choose_stimuli(40, 10, seed=3)
    scenes = scenes_of(stimuli)
    seen = []
    for recording in recordings(folder):
        raw = mne.io.read_raw_fif(folder / recording["path"], preload=True, verbose="error")
        events = events_of(folder, recording)
        assert list(events.columns) == EVENTS
        assert raw.ch_names == list(CHANNELS)
        assert raw.info["sfreq"] == 250
        assert list(raw.annotations.description) == list(events["stimulus"])
        np.testing.assert_allclose(raw.annotations.onset, events["onset"], atol=1e-6)
        np.testing.assert_allclose(raw.annotations.duration, 0.1, atol=1e-6)
        np.testing.assert_allclose(events["onset"] * 250, np.round(events["onset"] * 250), atol=1e-6)
        assert raw.times[-1] > events["onset"].iloc[-1] + 1.0
        seen.append(events.assign(subject=recording["subject"]))
        brain = Brain(recording["subject"], seed=3)
        expected = brain.record(
            brain.evoked(scenes),
            stimuli.index.get_indexer(events["stimulus"]),
            np.round(events["onset"].to_numpy() * 250).astype(int),
            raw.n_times,
            session=recording["session"],
            run=recording["run"],
        )
        np.testing.assert_array_equal(raw.get_data().astype(np.float32), expected)
    counts = pd.concat(seen).groupby(["subject", "stimulus"]).size()
    assert len(counts) == 100
    assert all(n == (1 if name.startswith("train") else 3) for (_, name), n in counts.items())
    first, second = (table["stimulus"].to_list() for table in (seen[0], seen[2]))
    assert first != second  # each subject has an order of its own


def test_the_same_arguments_give_the_same_study(folder: Path, tmp_path: Path):
    again = simulate(tmp_path / "again", n_subjects=2, **SMALL)
    assert files(again) == files(folder)
    for name in files(folder):
        if not name.endswith(".fif"):  # holds the time of writing
            assert (again / name).read_bytes() == (folder / name).read_bytes(), name
    for recording in recordings(folder):
        one, two = (mne.io.read_raw_fif(f / recording["path"], verbose="error").get_data() for f in (folder, again))
        np.testing.assert_array_equal(one, two)


def test_bids_reads_back_the_same(folder: Path, bids_folder: Path):
    import mne_bids

    description = json.loads((bids_folder / "dataset_description.json").read_text())
    assert description["DatasetType"] == "raw"
    assert pd.read_csv(bids_folder / "participants.tsv", sep="\t")["participant_id"].to_list() == ["sub-01", "sub-02"]
    codes: dict[str, int] = {}
    for recording, fif in zip(recordings(bids_folder), recordings(folder), strict=True):
        entities = {name: recording[name] for name in ("subject", "session", "run")}
        path = mne_bids.BIDSPath(root=bids_folder, task="view", datatype="eeg", **entities)
        raw = mne_bids.read_raw_bids(path, verbose="error")
        expected = mne.io.read_raw_fif(folder / fif["path"], verbose="error")
        assert raw.ch_names == expected.ch_names
        np.testing.assert_allclose(raw.get_data(), expected.get_data(), atol=1e-10)  # float32 in microvolts
        assert list(raw.annotations.description) == list(expected.annotations.description)
        np.testing.assert_allclose(raw.annotations.onset, expected.annotations.onset, atol=1e-6)
        np.testing.assert_allclose(raw.annotations.duration, expected.annotations.duration, atol=1e-6)
        for one, two in zip(raw.info["chs"], expected.info["chs"], strict=True):
            np.testing.assert_allclose(one["loc"][:3], two["loc"][:3], atol=1e-6)
        events = events_of(bids_folder, recording)
        assert all((bids_folder / "stimuli" / file).is_file() for file in events["stim_file"])
        for name, value in zip(events["trial_type"], events["value"], strict=True):
            assert codes.setdefault(name, value) == value  # one marker for one picture, in every run
        np.testing.assert_array_equal(events["sample"], np.round(events["onset"] * 250))
    assert len(set(codes.values())) == len(codes) == 50
    assert mne_bids.get_entity_vals(bids_folder, "subject") == ["01", "02"]


def test_without_the_extra_the_fix_is_named(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pybv", None)
    with pytest.raises(PhospheneError, match=r"pip install 'phosphene\[bids\]'"):
        simulate(tmp_path / "study", fmt="brainvision", **SMALL)
    assert not list(tmp_path.iterdir())


# whole or absent


def test_the_same_study_is_reused_and_anything_else_refused(folder: Path, tmp_path: Path):
    before = {name: (folder / name).stat().st_mtime_ns for name in files(folder)}
    calls: list[tuple] = []
    assert simulate(folder, n_subjects=2, **SMALL, progress=lambda *step: calls.append(step)) == folder
    assert not calls
    with pytest.raises(PhospheneError, match="another simulated study"):
        simulate(folder, n_subjects=2, **{**SMALL, "seed": 4})
    assert {name: (folder / name).stat().st_mtime_ns for name in files(folder)} == before
    other = tmp_path / "mine"
    other.mkdir()
    (other / "thesis.txt").write_text("precious")
    with pytest.raises(PhospheneError, match="choose another"):
        simulate(other, **SMALL)
    with pytest.raises(PhospheneError, match="choose another"):
        simulate(other / "thesis.txt", **SMALL)
    assert (other / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize("failure", ["disk", "interrupt"])
def test_nothing_half_written_is_left(tmp_path: Path, monkeypatch, failure: str):
    out = tmp_path / "study"

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    def interrupt(done: int, total: int, what: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    if failure == "disk":
        monkeypatch.setattr(mne.io.RawArray, "save", full)
        with pytest.raises(PhospheneError, match="no space left"):
            simulate(out, **SMALL)
    else:
        with pytest.raises(KeyboardInterrupt):
            simulate(out, **SMALL, progress=interrupt)
    assert not list(tmp_path.iterdir())


def test_progress_counts_to_its_end_and_an_empty_folder_may_be_filled(tmp_path: Path):
    (tmp_path / "study").mkdir()
    steps: list[tuple[int, int, str]] = []
    simulate(tmp_path / "study", **{**SMALL, "size": 32}, progress=lambda *step: steps.append(step))
    assert [s[0] for s in steps] == [0, 1, 2, 3]
    assert {s[1] for s in steps} == {3}
    assert Image.open(tmp_path / "study/stimuli/test_images/test-0001.png").size == (32, 32)


# designs with a flaw

BLOCKS = {**SMALL, "n_test_pictures": 20, "test_repeats": 1, "size": 16, "soa": 0.8}
FLAWED = [name for name, made in DESIGNS.items() if not made.sound]


@pytest.fixture(scope="module")
def flawed(tmp_path_factory) -> dict[str, Path]:
    """A loud study of each flawed design: the mean of its trials shows whether anything is evoked."""
    top = tmp_path_factory.mktemp("flawed")
    return {name: simulate(top / name, design=name, snr_db=10.0, **BLOCKS) for name in FLAWED}


@pytest.mark.parametrize("design", FLAWED)
def test_a_concept_is_one_stretch_with_training_and_test_in_it(flawed, design):
    facts = json.loads((flawed[design] / "dataset.json").read_text())
    assert (facts["design"], facts["parameters"]["design"]) == ("block", design)
    tables = [events_of(flawed[design], r).assign(**r) for r in facts["recordings"]]
    shown = pd.concat(tables)
    assert len(shown) == 40 + 20
    assert shown["session"].nunique() == 2
    assert (shown.groupby(["session", "run", "block"])["concept"].nunique() == 1).all()
    assert len(shown.groupby(["session", "run", "block"])) == shown["concept"].nunique() == 40
    assert set(shown["concept"][shown["split"] == "test"]) <= set(shown["concept"][shown["split"] == "train"])
    for table in tables:
        gaps = np.diff(table["onset"])
        np.testing.assert_allclose(gaps, np.where(np.diff(table["block"]) == 1, 10.8, 0.8), atol=1e-6)
    stimuli = pd.read_csv(flawed[design] / "stimuli.csv")
    assert set(stimuli["category"]) == {"living", "not living"}
    assert (stimuli.groupby("concept")["category"].nunique() == 1).all()


def test_a_response_is_there_only_where_it_is_said(flawed):
    def evoked(design: str) -> float:
        """Power of the mean response as a share of the power of a trial, above 1 Hz."""
        trials = []
        for recording in recordings(flawed[design]):
            raw = mne.io.read_raw_fif(flawed[design] / recording["path"], preload=True, verbose="error")
            x = raw.filter(1.0, 30.0, verbose="error").get_data()
            onsets = events_of(flawed[design], recording)["onset"]
            trials += [x[:, round(250 * t) : round(250 * (t + 0.5))] for t in onsets]
        return float(np.square(np.mean(trials, axis=0)).mean() / np.square(trials).mean())

    assert evoked("block") > 0.2
    assert max(evoked("drift"), evoked("phantom")) < 0.06
    truth = json.loads((flawed["phantom"] / "dataset.json").read_text())["truth"]
    assert truth == {"01": []}


def test_the_gain_changes_within_minutes_by_what_was_asked():
    x = np.log(gain(np.random.default_rng(0), 200, 40_000, 20.0, 0.3))
    assert x.std() == pytest.approx(0.3, rel=0.05)
    second, minutes = (np.corrcoef(x[:, 0], x[:, 20 * lag])[0, 1] for lag in (1, 600))
    assert second > 0.99
    assert abs(minutes) < 0.25


def test_a_phantom_is_noise_of_its_own_at_every_electrode():
    x = phantom(np.random.default_rng(0), 20, 50_000, 100.0)
    assert 3e-6 < x.std() < 8e-6
    alike = np.corrcoef(x)
    assert np.linalg.matrix_rank(x) == 20
    assert 0.05 < np.abs(alike[~np.eye(20, dtype=bool)]).mean() < 0.5


def test_a_rapid_study_does_not_name_its_design(folder):
    facts = json.loads((folder / "dataset.json").read_text())
    assert "design" not in facts
    assert "design" not in facts["parameters"]
    assert "category" not in pd.read_csv(folder / "stimuli.csv")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"design": "blok"}, "did you mean 'block'"),
        ({"design": "block", "n_sessions": 41}, "for 40 blocks"),
        ({"design": "block", "n_train_pictures": 39}, "n_train_pictures is 39"),
        ({"fmt": "brainvison"}, "brainvision"),
        ({"n_test_pictures": 961}, "1 to 960"),
        ({"n_subjects": 0}, "n_subjects"),
        ({"train_repeats": 1.5}, "whole number"),
        ({"snr_db": 100}, "snr_db"),
        ({"snr_db": float("-inf")}, "at least -200"),
        ({"soa": 0.0}, "soa"),
        ({"sfreq": 5}, "sfreq"),
        ({"n_sessions": 99, "n_train_pictures": 1, "n_test_pictures": 1, "test_repeats": 1}, "fewer sessions"),
    ],
)
def test_arguments_out_of_range_are_refused(tmp_path: Path, arguments: dict, message: str):
    with pytest.raises(PhospheneError, match=message):
        simulate(tmp_path / "study", **{**SMALL, **arguments})
    assert not list(tmp_path.iterdir())
