"""Tables of one's own, from end to end: gaps are told with file and row, labels are what a person expects."""

import json

import mne
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import phosphene
from conftest import without_checksums
from phosphene.eeg.trials import Signal, Trials
from phosphene.errors import PhospheneError

NAMES = ["cup", "dog", "hat", "sea", "sun", "owl"]
X = np.random.default_rng(0).normal(0, 1e-5, (6, 3, 40)).astype(np.float32)
ROWS = pd.DataFrame({"stimulus": NAMES})


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in [*NAMES, "1", "2", "nan", "None"]:
        Image.new("RGB", (8, 8), "red").save(folder / f"{name}.png")
    return folder


@pytest.fixture
def stimuli(pictures):
    return pd.DataFrame(
        {
            "stimulus": NAMES,
            "image": [str(pictures / f"{name}.png") for name in NAMES],
            "concept": list("aabbcc"),
        }
    )


def arrays(table, shown, **more):
    return phosphene.from_arrays(X, table, shown, ch_names=["Fz", "Cz", "Oz"], sfreq=100, tmin=-0.1, **more)


def recording():
    raw = mne.io.RawArray(
        np.random.default_rng(0).normal(0, 1e-5, (3, 1000)),
        mne.create_info(["Fz", "Cz", "Oz"], 100.0, "eeg"),
        verbose="error",
    )
    raw.set_annotations(mne.Annotations(1.0 + np.arange(6), 0.0, NAMES))
    return raw


def of_events(events, shown, **more):
    return phosphene.from_mne(
        recording(), shown, events=events, tmin=-0.1, tmax=0.4, l_freq=None, h_freq=None, sfreq=None, **more
    )


def of_epochs(shown, metadata, **more):
    events, codes = mne.events_from_annotations(recording(), verbose="error")
    epochs = mne.Epochs(
        recording(),
        events,
        codes,
        -0.1,
        0.4,
        baseline=None,
        preload=True,
        metadata=pd.DataFrame(metadata),
        verbose="error",
    )
    return phosphene.from_mne(epochs, shown, **more)


# -- what is meant -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["subject", "session", "run", "block", "concept"])
@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([1, 1, 1, 2, 2, 2], "111222"),
        ([1.0, 1, 1, 2, 2, 2], "111222"),
        (["1.0", "1", 1, 2, "2.0", 2.0], "111222"),
        (pd.Categorical(list("aaabbb")), "aaabbb"),
        (pd.array([1, 1, 1, 2, 2, 2], dtype="Int64"), "111222"),
        (["01", "01", "01", "1", "1", "1"], ["01"] * 3 + ["1"] * 3),
    ],
)
def test_labels_of_every_kind(stimuli, column, values, found):
    table = ROWS.assign(**{column: values})
    trials = arrays(table, stimuli[["stimulus", "image"]])
    assert trials.table[column].tolist() == list(found)
    rows = table.astype({column: object}).to_dict("records")
    assert arrays(rows, stimuli[["stimulus", "image"]]).table[column].tolist() == list(found)


@pytest.mark.parametrize("column", ["session", "run", "block", "subject"])
@pytest.mark.parametrize("gap", [None, np.nan, "", "n/a", pd.NA])
def test_a_column_of_gaps_is_no_column(pictures, column, gap):
    assert set(arrays(ROWS.assign(**{column: [gap] * 6}), pictures).table[column]) == {"01"}


@pytest.mark.parametrize("sep", [",", ";", "\t", "|"])
def test_a_file_and_a_frame_mean_the_same(tmp_path, stimuli, sep):
    table = ROWS.assign(session=[1.0, 1, 1, 2, 2, 2], level=[0.5, 1, 1, 2, 0.5, np.nan], onset=[1, 2, 3.5, 4, 5, 6])
    table.to_csv(tmp_path / "t.txt", sep=sep, index=False)
    stimuli.to_csv(tmp_path / "s.txt", sep=sep)
    rule = {"level": [1.0]}
    a = arrays(table, stimuli, split=rule)
    b = arrays(tmp_path / "t.txt", tmp_path / "s.txt", split=rule)
    columns = ["session", "stimulus", "concept", "onset", "split"]
    pd.testing.assert_frame_equal(a.table[columns], b.table[columns])
    assert a.table["split"].tolist() == ["train", "test", "test", "train", "train", "train"]


def test_whole_numbers_name_pictures(pictures, tmp_path):
    ids = [1.0, 2.0, 1.0, 2.0, np.nan, 1.0]
    trials = arrays(ROWS.assign(stimulus=ids), pictures, keep={"stimulus": [1, 2.0]})
    assert trials.table["stimulus"].tolist() == ["1", "2", "1", "2", "1"]
    np.testing.assert_array_equal(trials.eeg, X[[0, 1, 2, 3, 5]])
    shown = {1: pictures / "cup.png", 2: pictures / "dog.png"}
    assert of_epochs(shown, {"code": ids}, event="code", keep="?").table["stimulus"].tolist() == list("12121")
    pd.DataFrame({"stimulus": ids}).to_csv(tmp_path / "t.csv")
    assert arrays(tmp_path / "t.csv", pictures, keep="*").table["stimulus"].tolist() == list("12121")


def test_a_missing_cell_matches_only_itself(pictures):
    table = ROWS.assign(answer=["y", None, "n", "y", "", "n"])
    assert arrays(table, pictures, keep={"answer": "*"}).table["stimulus"].tolist() == ["cup", "hat", "sea", "owl"]
    assert arrays(table, pictures, keep={"answer": ["n/a", "n"]}).table["stimulus"].tolist() == NAMES[1:3] + NAMES[4:]


def test_a_gap_is_not_in_the_test_part(pictures):
    trials = arrays(ROWS.assign(phase=["a", None, 2.0, "a", np.nan, "b"]), pictures, split={"phase": ["a", 2]})
    assert trials.table["split"].tolist() == ["test", "train", "test", "test", "train", "train"]
    trials = arrays(ROWS.assign(catch=[True, False] * 3), pictures, split={"catch": True})
    assert trials.table["split"].tolist() == ["test", "train"] * 3


def test_a_thing_may_be_called_nan(pictures):
    trials = arrays(ROWS.assign(stimulus=["nan", "None", "cup", "dog", "nan", "hat"]), pictures)
    assert trials.table["stimulus"].tolist() == ["nan", "None", "cup", "dog", "nan", "hat"]
    assert any("stimulus 'nan' of 2 trials is taken for a name" in note for note in trials.notes)


def test_patterns_take_whole_numbers(pictures):
    for name in ("007", "012"):
        Image.new("RGB", (8, 8)).save(pictures / f"{name}.png")
    table = ROWS.assign(code=[7.0, 12, 7, 12, 7, 12], stimulus=["a", "b"] * 3)
    trials = arrays(table, None, image=f"{pictures}/{{code:03d}}.png")
    assert trials.stimuli["image"].str[-7:].tolist() == ["007.png", "012.png"]


def test_onsets_may_be_missing_where_nothing_is_cut(pictures, tmp_path):
    (tmp_path / "t.csv").write_text("stimulus,onset\n" + "".join(f"{n},{i or 'n/a'}\n" for i, n in enumerate(NAMES)))
    trials = arrays(tmp_path / "t.csv", pictures)
    np.testing.assert_array_equal(trials.table["onset"], [np.nan, 1, 2, 3, 4, 5])
    assert "the onset of 1 of 6 trials is missing" in trials.notes


# -- what is told ------------------------------------------------------------------------------------------------------

GAP = ["a"] * 5 + [None]


@pytest.mark.parametrize(
    ("columns", "more", "message"),
    [
        ({"stimulus": [*NAMES[:5], None]}, {}, "table, row 5 (from 0) has no stimulus: fill it in, or leave it out"),
        ({"stimulus": [*NAMES[:5], ""]}, {}, "table, row 5 (from 0) has no stimulus"),
        ({"stimulus": [*NAMES[:4], "n/a", pd.NA]}, {}, "row 4 (from 0) has no stimulus (2 such rows)"),
        ({"session": GAP}, {}, "row 5 (from 0) has no session"),
        ({"subject": GAP}, {}, "row 5 (from 0) has no subject"),
        ({"run": [1, 1, 1, 2, 2, np.nan]}, {}, "row 5 (from 0) has no run"),
        ({"block": pd.array(GAP, dtype="string")}, {}, "row 5 (from 0) has no block"),
        ({"session": pd.Categorical(GAP)}, {}, "row 5 (from 0) has no session"),
        ({"repeat": [1, 1, 1, 1, 1, np.nan]}, {}, "row 5 (from 0) has no repeat"),
        ({"repeat": [1, 1, 1, 1, 1, 1.5]}, {}, "repeat 1.5 is not a whole number"),
        ({"onset": [1, 2, 3, 4, 5, "late"]}, {}, "row 5 (from 0): onset 'late' is not a number"),
        ({"split": ["train"] * 5 + [None]}, {}, "row 5 (from 0) has no split"),
        ({"concept": GAP}, {}, "stimulus 'owl' of table names no concept in row 5 (from 0)"),
        ({"kind": GAP}, {"concept": "kind"}, "stimulus 'owl' of table names no concept in row 5 (from 0)"),
        ({"file": GAP}, {"image": "file"}, "stimulus 'owl' of table names no picture in row 5"),
        ({"code": GAP}, {"image": "{code}.png"}, "stimulus 'owl' of table names no picture in row 5"),
        ({"code": GAP}, {"image": "{code"}, "image '{code' is not a valid pattern"),
        ({"code": GAP}, {"image": "{code:x^y}"}, "cannot be filled in with"),
        ({"code": GAP}, {"split": {"code": "b"}}, "split: no code is 'b'"),
        ({"Split": "train"}, {}, "table has a column 'Split', which is not read: rename it 'split'"),
        ({"Session": 1}, {}, "rename it 'session'"),
    ],
)
def test_gaps_are_told_with_their_row(pictures, columns, more, message):
    with pytest.raises(PhospheneError) as error:
        arrays(ROWS.assign(**columns), None if "image" in more else pictures, **more)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"concept": ["a", None, "b", "b", "c", "c"]}, "stimulus 'dog' has no concept in row 1 (from 0) of stimuli"),
        ({"concept": [1.0, np.nan, 2, 2, 3, 3]}, "stimulus 'dog' has no concept"),
        ({"concept": pd.Categorical(["a", None, "b", "b", "c", "c"])}, "stimulus 'dog' has no concept"),
        ({"concept": "n/a"}, "stimulus 'cup' has no concept"),
        ({"image": [None] * 6}, "row 0 (from 0) of stimuli names no image for stimulus 'cup'"),
        ({"stimulus": [*NAMES[:5], None]}, "stimuli, row 5 (from 0) has no stimulus"),
        ({"stimulus": ["cup", 1, 1.0, "1", "sun", "owl"]}, "stimuli lists stimulus '1' twice"),
        ({"Concept": "x"}, None),
    ],
)
@pytest.mark.parametrize("split", [{"stimulus": 0.3}, {"concept": 0.34}])
def test_stimuli_with_gaps(stimuli, columns, message, split):
    table = stimuli.assign(**columns)
    if message is None:  # another column of that name does no harm
        assert len(arrays(ROWS, table, split=split)) == 6
        return
    with pytest.raises(PhospheneError) as error:
        arrays(ROWS, table, split=split)
    assert message in str(error.value)


def test_files_are_named_with_their_lines(pictures, tmp_path):
    (tmp_path / "s.csv").write_text("stimulus,image,concept\ncup,pictures/cup.png,a\n\ndog,pictures/dog.png,\n")
    with pytest.raises(PhospheneError, match=r"stimulus 'dog' has no concept in line 4 of .*s.csv: fill in its cell"):
        of_events(ROWS[:2].assign(onset=[1, 2]), tmp_path / "s.csv")
    (tmp_path / "e.csv").write_text("onset;stimulus\n1,0;cup\n")
    with pytest.raises(
        PhospheneError, match=r"e.csv, line 2: onset '1,0' is not a number: write it with a decimal point"
    ):
        of_events(tmp_path / "e.csv", pictures)
    (tmp_path / "e.csv").write_text("onset,stimulus,session\n1,cup,2\n2,dog,\n")
    with pytest.raises(PhospheneError, match=r"e.csv, line 3 has no session"):
        of_events(tmp_path / "e.csv", pictures)
    (tmp_path / "t.csv").write_text("stimulus\n" + "\n".join(NAMES[:5]) + "\nn/a\n")
    with pytest.raises(PhospheneError, match=r"t.csv, line 7 has no stimulus"):
        arrays(tmp_path / "t.csv", pictures)


def test_epochs_and_several_runs(pictures, tmp_path):
    with pytest.raises(PhospheneError, match=r"the epochs' metadata, row 5 \(from 0\) has no stimulus"):
        of_epochs(pictures, {"stimulus": [*NAMES[:5], None]})
    with pytest.raises(PhospheneError, match=r"row 5 \(from 0\) has no session"):
        of_epochs(pictures, {"stimulus": NAMES, "session": GAP})
    kept = of_epochs(pictures, {"stimulus": [*NAMES[:5], None]}, keep="*")
    assert kept.table["stimulus"].tolist() == NAMES[:5]
    (tmp_path / "e.csv").write_text("onset,stimulus\n1,cup\n2,\n")
    events = [pd.DataFrame({"onset": [1.0], "stimulus": ["cup"]}), tmp_path / "e.csv"]
    with pytest.raises(PhospheneError, match=r"the events, line 3 of run 2 has no stimulus"):
        phosphene.from_mne([recording(), recording()], pictures, events=events, tmin=-0.1, tmax=0.4)


def test_arrays_on_disk(pictures, tmp_path):
    np.save(tmp_path / "eeg.npy", X)
    facts = {"root": str(tmp_path), "stimuli": "pictures", "ch_names": ["Fz", "Cz", "Oz"], "sfreq": 100, "tmin": -0.1}
    (tmp_path / "table.csv").write_text(
        "stimulus; session ; run\n" + "".join(f"{n} ; 2.0; \n" for n in NAMES[::-1]), encoding="utf-8-sig"
    )
    trials = phosphene.load("arrays", keep={"stimulus": ["cup", "owl"]}, **facts)
    assert trials.table[["stimulus", "session", "run"]].to_numpy().tolist() == [["owl", "2", "01"], ["cup", "2", "01"]]
    np.testing.assert_array_equal(trials.eeg, X[[0, 5]])
    (tmp_path / "table.csv").write_text(
        "stimulus,session\n" + "".join(f"{n},{n[0]}\n" for n in NAMES[:5]) + "owl,n/a\n"
    )
    with pytest.raises(PhospheneError, match=r"table.csv, line 7 has no session"):
        phosphene.load("arrays", **facts)
    (tmp_path / "names.txt").write_bytes("Fz\nCz\nOz\n".encode("utf-16"))
    (tmp_path / "table.csv").write_text("stimulus\n" + "\n".join(NAMES))
    with pytest.raises(PhospheneError, match=r"names.txt is UTF-16 text"):
        phosphene.load("arrays", **{**facts, "ch_names": "names.txt"})


# -- trials ------------------------------------------------------------------------------------------------------------


def built(table, stimuli):
    return Trials(X, table.assign(subject="01"), stimuli, Signal(("Fz", "Cz", "Oz"), 100.0))


def test_trials_take_labels_of_every_kind():
    stimuli = pd.DataFrame({"concept": [1.0, 2.0]}, index=[1, 2])
    trials = built(pd.DataFrame({"stimulus": [1.0, 2, 1, 2, 1, 2], "session": [None] * 6, "run": [3.0] * 6}), stimuli)
    assert trials.table["stimulus"].tolist() == trials.table["concept"].tolist() == list("121212")
    assert set(trials.table["session"]) == {"01"}
    assert set(trials.table["run"]) == {"3"}
    assert trials.stimuli["concept"].to_dict() == {"1": "1", "2": "2"}


@pytest.mark.parametrize(
    ("columns", "concepts", "message"),
    [
        ({"session": GAP}, ["a"] * 6, r"the trial table, row 5 \(from 0\) has no session"),
        ({"concept": GAP}, ["a"] * 6, r"the trial table, row 5 \(from 0\) has no concept"),
        ({}, GAP, r"the stimuli, row 5 \(from 0\) has no concept"),
    ],
)
def test_trials_with_gaps_are_told(columns, concepts, message):
    with pytest.raises(PhospheneError, match=message):
        built(ROWS.assign(**columns), pd.DataFrame({"concept": concepts}, index=NAMES))


def test_saved_labels_stay_as_they_were(tmp_path):
    """What looks like a gap or a number in a folder that was saved before is the label that it was."""
    odd = ["n/a", "", "1.0", "01", "nan", "x"]
    trials = built(ROWS.assign(session=odd), pd.DataFrame({"concept": NAMES}, index=NAMES))
    trials.save(tmp_path / "t")
    assert Trials.load(tmp_path / "t").table["session"].tolist() == odd
    assert json.loads((tmp_path / "t" / "signal.json").read_text())["notes"] == []
    table = without_checksums(tmp_path / "t") / "table.csv"
    table.write_text(table.read_text().replace("01,x,", "01,x,y,"))
    with pytest.raises(PhospheneError, match=r"table.csv: line 7 has 10 cells and the header 9"):
        Trials.load(tmp_path / "t")
