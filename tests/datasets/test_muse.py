"""Every trap of the Muse recordings, in files made here; then the real ones, where they are present."""

import logging
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from phosphene.datasets.muse import PICTURES, Muse
from phosphene.datasets.muse_csv import clock, read_csv
from phosphene.eeg.preprocessing import Preprocessing
from phosphene.errors import PhospheneError
from phosphene.registry import build

SHARED = Path(os.environ.get("PHOSPHENE_SHARED", Path(__file__).resolve().parents[3] / "shared"))
REAL = SHARED / "data" / "muse-visual"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"the Muse recordings are not at {REAL}")
PLAIN = Preprocessing(l_freq=1.0, h_freq=30.0, tmin=-0.1, tmax=0.8, baseline=(-0.1, 0.0), sfreq=None, reject=100e-6)
N_EVENTS = 30


def table(seed=0, n_events=N_EVENTS, scale=10.0):
    """A sound recording: 20 s at 256 Hz, microvolts, an onset every 160 rows."""
    n = 20 * 256
    rng = np.random.default_rng(seed)
    data = pd.DataFrame(
        rng.normal(scale=scale, size=(n, 5)).round(3), columns=["TP9", "AF7", "AF8", "TP10", "Right AUX"]
    )
    data.insert(0, "timestamps", (1.5e9 + np.arange(n) / 256).round(3))
    data["Marker0"] = 0
    onsets = 100 + 160 * np.arange(n_events)
    data.loc[onsets, "Marker0"] = 1 + np.arange(n_events) % 2
    return data


@pytest.fixture
def study(tmp_path):
    """A folder with pictures, and a function that adds runs to it."""
    for pattern in PICTURES["N170"].values():
        for name in ("a1", "a2"):
            picture = tmp_path / pattern.replace("*", name)
            picture.parent.mkdir(parents=True, exist_ok=True)
            picture.write_bytes(b"a picture")

    def add(data, subject="1", session="1", name="data_1.csv"):
        path = tmp_path / "N170" / f"subject{subject}" / f"session{session}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(data, str | bytes):
            path.write_bytes(data.encode() if isinstance(data, str) else data)
        else:
            data.to_csv(path, index=False)
        return path

    add.root = tmp_path
    return add


def read(study, **kwargs):
    dataset = Muse(study.root, **kwargs)
    return list(dataset.recordings(dataset.chosen())), dataset.report


def test_a_sound_run(study):
    data = table()
    study(data)
    (recording,), report = read(study)
    raw = recording.raw
    assert raw.ch_names == ["TP9", "AF7", "AF8", "TP10"]
    assert raw.info["sfreq"] == 256
    np.testing.assert_allclose(raw.get_data(), data[raw.ch_names].to_numpy().T * 1e-6)  # volts
    x, y, _ = raw.get_montage().get_positions()["ch_pos"]["TP9"]
    assert -0.12 < x < -0.05  # metres, on the left
    assert abs(y) < 0.08
    assert recording.table["onset"].tolist() == [(100 + 160 * i) / 256 for i in range(N_EVENTS)]
    assert recording.table["stimulus"].tolist()[:3] == ["house", "face", "house"]
    assert report == ["channel 'Right AUX' left out, an input without a place on the head: sub-1/ses-1/run-01"]
    assert recording.notes == report


def test_trials_hold_the_gallery(study):
    study(table())
    trials = build("dataset", "muse", root=study.root).load(PLAIN)
    assert trials.eeg.shape[:2] == (N_EVENTS, 4)
    assert trials.times[0] == pytest.approx(-0.1, abs=1 / 256)
    assert trials.times[-1] == pytest.approx(0.8, abs=1 / 256)
    assert trials.table[["subject", "session", "run", "concept"]].iloc[1].tolist() == ["1", "1", "01", "face"]
    assert trials.stimuli.index.tolist() == ["house", "face", "house/a1", "house/a2", "face/a1", "face/a2"]
    assert all(Path(p).is_file() for p in trials.stimuli["image"][2:])
    assert set(Muse.caveats) <= set(trials.notes)


def test_an_identical_file_is_kept_once(study, caplog):
    study(table(1))
    study(table(2), name="data_2.csv")
    study(table(2), session="2", name="other_name.csv.csv")
    study(table(3), session="2", name="data_3.csv.csv")
    with caplog.at_level(logging.WARNING):
        recordings, report = read(study)
    assert [r.name for r in recordings] == ["sub-1/ses-1/run-01", "sub-1/ses-1/run-02", "sub-1/ses-2/run-01"]
    line = "dropped, byte for byte the same file: sub-1/ses-2/run-02 (other_name.csv.csv) as sub-1/ses-1/run-02"
    assert line in report
    assert line in caplog.messages
    assert line in recordings[0].notes


def test_one_changed_number_is_no_duplicate(study):
    study(table(1))
    changed = table(1)
    changed.loc[0, "TP9"] += 0.001
    study(changed, session="2")
    assert len(read(study)[0]) == 2


def test_a_dead_run_is_dropped(study):
    study(table(0))
    off = table(1)
    off[["TP9", "AF7", "AF8"]] *= 50  # three electrodes rail, 500 uV
    study(off, name="data_2.csv")
    flat = table(2)
    flat["AF7"] = 3.0
    study(flat, name="data_3.csv")
    recordings, report = read(study)
    assert [r.name for r in recordings] == ["sub-1/ses-1/run-01"]
    assert any("dead (robust SD" in line and "run-02 (data_2.csv)" in line for line in report)
    assert any("channel AF7 flat" in line and "run-03 (data_3.csv)" in line for line in report)


def test_one_bad_channel_or_a_burst_kills_no_run(study):
    data = table()
    data["TP9"] *= 50
    data.loc[:600, ["TP9", "AF7", "AF8", "TP10"]] = 1000.0
    study(data)
    assert len(read(study)[0]) == 1


def test_lost_markers(study):
    study(table(0))
    study(table(1, n_events=1), name="data_2.csv")
    recordings, report = read(study)
    assert len(recordings) == 1
    assert "dropped, markers lost (1 onsets in 20 s): sub-1/ses-1/run-02 (data_2.csv)" in report
    assert len(read(study, min_events=1)[0]) == 2


def test_no_run_left_is_an_error(study):
    study(table(n_events=1))
    with pytest.raises(PhospheneError, match=r"no run is left.*markers lost.*choose another subject"):
        read(study)


def test_time_is_the_row_number_where_the_clock_runs_back(study):
    data = table()
    plain = study(data)
    expected = read(study)[0][0]
    data.loc[data.index % 12 == 0, "timestamps"] -= 0.016
    plain.unlink()
    study(data, name="data_2.csv")
    (recording,), report = read(study)
    np.testing.assert_array_equal(recording.raw.get_data(), expected.raw.get_data())
    assert recording.table["onset"].tolist() == expected.table["onset"].tolist()
    assert "clock stands still or runs back, time is the row number at 256 Hz: sub-1/ses-1/run-01 (426 rows)" in report


def test_clock_counts_steps_and_gaps():
    stamps = np.arange(1000) / 256
    assert clock(Path("x"), stamps, 256.0)[0] == 0
    stamps[500:] += 0.5
    n_back, gaps = clock(Path("x"), stamps, 256.0)
    assert (n_back, gaps.tolist()) == (0, [500])
    for wrong in (np.arange(1000) / 220, np.zeros(1000), np.full(1000, np.nan)):
        with pytest.raises(PhospheneError, match="by its clock, not 256: resample it"):
            clock(Path("x"), wrong, 256.0)


def test_epochs_across_nan_and_gaps_are_left_out(study):
    data = table()
    data.loc[100 + 160 * 3 : 100 + 160 * 3 + 4, "AF7"] = np.nan  # within the epochs of onsets 2 and 3
    row = 100 + 160 * 10 + 10
    data.loc[row:, "timestamps"] += 0.5
    study(data)
    dataset = Muse(study.root)
    trials = dataset.load(PLAIN)
    assert np.isfinite(trials.eeg).all()
    near = [i for i in range(N_EVENTS) if any(-26 <= r - (100 + 160 * i) <= 205 for r in (580, row))]
    kept = set((trials.table["onset"] * 256).round().astype(int))
    assert kept == {100 + 160 * i for i in range(N_EVENTS) if i not in near}
    assert len(near) == 4
    assert any("NaN bridged by lines" in n and "(5 rows)" in n for n in trials.notes)
    assert any("samples missing by the clock" in n for n in trials.notes)


def test_a_channel_of_nan_drops_the_run(study):
    study(table(0))
    data = table(1)
    data.loc[: len(data) * 0.6, "TP10"] = np.nan
    study(data, name="data_2.csv")
    assert any("channel TP10 mostly NaN" in line for line in read(study)[1])


def test_unknown_codes_are_left_out_and_named(study):
    data = table()
    data.loc[10, "Marker0"] = 7
    study(data)
    (recording,), report = read(study)
    assert len(recording.table) == N_EVENTS
    assert "markers of unknown code 7 left out: sub-1/ses-1/run-01 (1)" in report


def test_marker_lag_moves_onsets_later(study):
    study(table())
    (plain,), _ = read(study)
    (late,), _ = read(study, marker_lag=0.1)
    np.testing.assert_allclose(late.table["onset"] - plain.table["onset"], 0.1)


def test_subjects_and_sessions_are_chosen(study):
    for subject, session in (("1", "1"), ("2", "1"), ("2", "2"), ("10", "1")):
        study(table(int(subject) * 10 + int(session)), subject=subject, session=session)
    assert Muse(study.root).subjects() == ["1", "2", "10"]
    assert [r.name for r in read(study, subject=[2, 10])[0]] == [
        "sub-2/ses-1/run-01",
        "sub-2/ses-2/run-01",
        "sub-10/ses-1/run-01",
    ]
    assert len(read(study, subject="all")[0]) == 4
    assert [r.name for r in read(study, subject=2, sessions=2)[0]] == ["sub-2/ses-2/run-01"]
    with pytest.raises(PhospheneError, match="subject '3' was not found under"):
        read(study, subject=3)
    with pytest.raises(PhospheneError, match="no session '5'"):
        read(study, sessions="5")
    with pytest.raises(PhospheneError, match="unknown experiment 'N17': did you mean 'N170'"):
        Muse(study.root, experiment="N17")


def csv(data=None):
    return (table() if data is None else data).to_csv(index=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(lambda: csv()[:100_000].rsplit(",", 2)[0], "is cut off at line", id="cut"),
        pytest.param(
            lambda: csv()[:100_000].rsplit("\n", 1)[0] + "\n1500000", "is cut off at line", id="cut-in-number"
        ),
        pytest.param(lambda: "", "cannot be read .*: copy it again", id="empty"),
        pytest.param(lambda: csv().split("\n")[0] + "\n", "holds no sample", id="header-only"),
        pytest.param(lambda: csv().replace("\n", "\nnonsense,", 1), "cannot be read", id="ragged"),
        pytest.param(lambda: csv().replace("1500000000.0,", "abc,", 1), "cannot be read", id="text"),
        pytest.param(lambda: b"\x89PNG\r\n\x1a\n\xff\xfe" * 50, "cannot be read", id="binary"),
        pytest.param(lambda: csv(table().drop(columns="Marker0")), "needs a column 'timestamps'", id="no-marker"),
        pytest.param(
            lambda: csv(table().rename(columns=dict(zip(("TP9", "AF7", "AF8", "TP10"), "abcd", strict=True)))),
            "electrodes such as 'TP9'",
            id="no-electrode",
        ),
    ],
)
def test_a_spoilt_file_is_named_with_its_fix(study, content, message):
    study(content())
    with pytest.raises(PhospheneError, match=message) as error:
        read(study)
    assert "data_1.csv" in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_pictures_and_folders(study, tmp_path):
    study(table())
    for picture in (tmp_path / "stimuli/face_house/faces").iterdir():
        picture.unlink()
    with pytest.raises(PhospheneError, match=r"no picture matches .*faces.*restore"):
        Muse(study.root).load(PLAIN)
    with pytest.raises(PhospheneError, match="no recording found under"):
        Muse(tmp_path / "stimuli").load(PLAIN)
    with pytest.raises(PhospheneError, match="does not exist: set dataset"):
        Muse(tmp_path / "nowhere")


@needs_real
@pytest.mark.parametrize("experiment", ["N170", "P300"])
def test_the_real_folder_holds_what_is_expected(experiment):
    dataset = Muse(REAL, experiment=experiment, subject="all")
    runs = dataset.files(dataset.chosen())
    recordings = list(dataset.recordings(dataset.chosen()))
    assert dataset.expected[experiment] == {
        "subjects": len(dataset.subjects()),
        "files": len(runs),
        "onsets": sum(np.count_nonzero(read_csv(run.path)[1]) for run in runs),
        "runs_kept": len(recordings),
        "onsets_kept": sum(len(r.table) for r in recordings),
    }


@needs_real
def test_every_real_trap_is_caught_and_nothing_else():
    dataset = Muse(REAL, subject="all")
    kept = [r.name for r in dataset.recordings(dataset.chosen())]
    assert len(kept) == 14
    dropped = "\n".join(line for line in dataset.report if line.startswith("dropped"))
    assert dropped.count("run-") - dropped.count(" as ") == 5
    assert "same file: sub-3/ses-2/run-02 (data_2018-05-14-19.38.10.csv) as sub-3/ses-1/run-02" in dropped
    assert "dead (robust SD 235 uV over channels): sub-3/ses-3/run-02" in dropped
    for run in ("sub-10/ses-1/run-01", "sub-10/ses-2/run-01", "sub-10/ses-3/run-01"):
        assert f"{run} (" in dropped.split("markers lost (1 onsets", 1)[1]
    clocks = next(line for line in dataset.report if line.startswith("clock stands still"))
    assert all(f"sub-1/ses-1/run-0{i} (" in clocks for i in range(1, 7))
    assert "sub-2" not in clocks
    assert "sub-3" not in clocks


@needs_real
def test_rows_of_the_real_files_are_in_order_though_their_clock_is_not():
    """The ground for rebuilding time from the row number: in order of their stamps, rows make a rougher signal."""
    for path in sorted((REAL / "N170" / "subject1" / "session1").glob("*.csv")):
        data, _ = read_csv(path)
        eeg = data[["TP9", "AF7", "AF8", "TP10"]].to_numpy()
        by_stamp = eeg[np.argsort(data["timestamps"].to_numpy(), kind="stable")]
        assert np.abs(np.diff(eeg, 2, axis=0)).mean() < np.abs(np.diff(by_stamp, 2, axis=0)).mean()
