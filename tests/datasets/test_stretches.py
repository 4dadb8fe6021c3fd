"""Events and bad stretches: what MNE, EEGLAB and BrainVision call bad is dropped and counted, and nothing else is."""

import mne
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from phosphene.datasets.own import from_mne
from phosphene.datasets.stretches import STRETCH
from phosphene.errors import PhospheneError

NAMES = ("cup", "dog", "hat", "badge", "edge")
ONSETS = (1.0, 3.0, 5.0)  # of cup, dog and hat
STEPS = {"l_freq": None, "h_freq": None, "tmin": -0.1, "tmax": 0.4, "baseline": None, "sfreq": None}
SFREQ = 100.0


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for name in NAMES:
        Image.new("RGB", (8, 8), "red").save(folder / f"{name}.png")
    return folder


def recording(*more, onsets=ONSETS, names=NAMES, sfreq=SFREQ, seed=0, first=0.0):
    """Noise of 7 s, annotated with pictures, and with more: onset, duration, name."""
    data = 1e-5 * np.random.default_rng(seed).normal(size=(4, round(7 * sfreq)))
    info = mne.create_info(["Fz", "Cz", "Pz", "Oz"], sfreq, "eeg")
    raw = mne.io.RawArray(data, info, first_samp=round(first * sfreq), verbose="error")
    rows = [(onset, 0.0, name) for onset, name in zip(onsets, names, strict=False)] + list(more)
    return raw.set_annotations(mne.Annotations(*zip(*rows, strict=True)))


def load(data, pictures, **arguments):
    return from_mne(data, pictures, **{**STEPS, **arguments})


def dropped(trials) -> str:
    return next((note for note in trials.notes if "epochs dropped" in note), "")


NAMED_BAD = (
    "bad",
    "BAD_ET",
    "bad segment",
    "Bad_EOG",
    "BAD:blink",
    "bad-muscle",
    "BADsegment",
    "BAD_ACQ_SKIP",
    "Bad Interval/Bad Min-Max",
    "EDGE_x",
    "edge",
    " bad",
)


@pytest.mark.parametrize("keep", [None, ["cup", "dog", "hat"]], ids=["all", "keep"])
@pytest.mark.parametrize("name", NAMED_BAD)
def test_what_is_called_bad_is_dropped_and_counted_whatever_is_kept(pictures, name, keep):
    stimuli = {n: pictures / f"{n}.png" for n in NAMES if n != name}
    trials = load(recording((3.1, 0.2, name)), stimuli, keep=keep)
    assert trials.table["stimulus"].tolist() == ["cup", "hat"]
    assert dropped(trials) == f"1 of 3 epochs dropped (1 in the bad stretch '{name.strip()}'): run 1 1"


@pytest.mark.parametrize("name", ["bad", "BAD_ET", "Bad Interval/Gradient", "bad-muscle", "BADsegment"])
@pytest.mark.parametrize("span", [(2.0, 0.8), (2.0, 0.95), (3.45, 1.0), (3.0, 0.0), (0.0, 4.0), (2.9, 0.0)])
def test_as_many_epochs_are_left_as_mne_leaves(pictures, name, span):
    raw = recording((*span, name))
    events, codes = mne.events_from_annotations(raw, verbose="error")
    epochs = mne.Epochs(raw, events, codes, -0.1, 0.39, None, preload=True, verbose="error")
    left = [{code: name for name, code in codes.items()}[code] for code in epochs.events[:, 2]]
    assert load(raw, pictures).table["stimulus"].tolist() == left


CUTS = ("boundary", "Boundary", "Comment/boundary", "New Segment/", "New Segment")
POINTS = ("EDGE boundary", "BAD boundary")  # to which MNE gives no length


@pytest.mark.parametrize(
    ("name", "length"), [(n, s) for n in CUTS for s in (0.0, 1.2, np.nan)] + [(n, 0) for n in POINTS]
)
def test_a_cut_is_a_point_however_long_what_was_cut(pictures, name, length):
    """EEGLAB's durations are of the data that are no longer there: epochs after the cut stay."""
    trials = load(recording((3.2, length, name), onsets=(1.0, 3.0, 3.4)), pictures)
    assert trials.table["stimulus"].tolist() == ["cup", "hat"]
    assert f"1 in the bad stretch '{name}'" in dropped(trials)


@pytest.mark.parametrize(
    ("at", "left"),
    [(2.9, 3), (2.91, 2), (2.895, 3), (3.39, 2), (3.40, 3), (3.395, 3), (0.0, 3), (6.99, 3)],
)
def test_a_cut_drops_an_epoch_if_samples_of_it_lie_on_both_sides(pictures, at, left):
    """The epoch of 3 s is of samples 290 to 339; EEGLAB's boundaries lie between samples."""
    assert len(load(recording((at, 0.0, "boundary")), pictures)) == left


@pytest.mark.parametrize("dated", [False, True])
@pytest.mark.parametrize("name", ["boundary", "BAD_x"])
def test_stretches_of_a_recording_that_begins_late(pictures, dated, name):
    raw = recording((3.2, 0.0, name), first=20.0)
    if dated:
        raw.set_meas_date(1e9)
    assert load(raw, pictures).table["stimulus"].tolist() == ["cup", "hat"]
    assert load(raw.crop(2.0), pictures).table["onset"].tolist() == [3.0]


@pytest.mark.parametrize("apart", [0.0, 0.01, 1.0])
@pytest.mark.parametrize("phase", ["zero", "minimum"])
def test_a_filter_begins_anew_at_a_cut(pictures, apart, phase):
    """As in EEGLAB and in MNE after `concatenate_raws`: a step of the amplifier at a cut does not ring."""
    steps = {"l_freq": 1.0, "h_freq": 30.0, "phase": phase}
    raw = recording((2.0, 0.0, "boundary"), (2.0 + apart, 0.0, "New Segment/"))
    shifted = raw.copy()
    shifted._data[:, round((2.0 + apart) * SFREQ) :] += 1e-3
    want, got = (load(r, pictures, notch=40.0, **steps) for r in (raw, shifted))
    np.testing.assert_allclose(got.eeg, want.eeg, atol=2e-5)


def test_epochs_across_a_join_are_dropped(pictures):
    joined = mne.concatenate_raws([recording(onsets=(1.0, 6.8), names=("cup", "dog")), recording(onsets=(0.05, 3.0))])
    trials = load(joined, pictures, tmin=-0.1, tmax=0.3)
    assert trials.table["stimulus"].tolist() == ["cup", "dog"]
    np.testing.assert_allclose(trials.table["onset"], [1.0, 10.0])
    assert "2 of 4 epochs dropped (2 in the bad stretch 'BAD boundary')" in dropped(trials)


@pytest.mark.parametrize("span", [(3.1, 0.2), (2.0, 2.0)])
def test_rows_of_an_event_table_name_stretches_too(pictures, tmp_path, span):
    rows = {"onset": [*ONSETS, span[0]], "duration": [0.5, 0.5, 0.5, span[1]]}
    tables = [
        pd.DataFrame({**rows, "stimulus": ["cup", "dog", "hat", "BAD_ET"]}),
        pd.DataFrame({**rows, "trial_type": ["cup", "dog", "hat", "bad_ET"]}),
        pd.DataFrame({**rows, "stimulus": ["cup", "dog", "hat", None], "trial_type": ["x", "x", "bad", "bad_ET"]}),
        pd.DataFrame(
            {**rows, "stimulus": ["cup", "dog", "hat", "n/a"], "description": ["x", "x", "x", "Bad Interval"]}
        ),
    ]
    raw = recording((5.1, 0.1, "bad_of_the_recording"))
    for i, table in enumerate(tables):
        table.to_csv(tmp_path / f"{i}.csv", index=False)
        for events in (table, tmp_path / f"{i}.csv"):
            trials = load(raw, pictures, events=events)
            assert trials.table["stimulus"].tolist() == ["cup"]
            assert "bad_of_the_recording" in dropped(trials)


def test_a_cut_in_an_event_table(pictures):
    events = pd.DataFrame(
        {
            "onset": [1.0, 3.0, 3.4, 3.2],
            "duration": ["0", "0", "n/a", "2"],
            "stimulus": ["cup", "dog", "hat", "boundary"],
        }
    )
    assert load(recording(), pictures, events=events).table["stimulus"].tolist() == ["cup", "hat"]
    events["duration"] = ["0", "0", "0", "-1"]
    with pytest.raises(
        PhospheneError, match="the event table: the bad stretch 'boundary' has a duration of -1 s: correct it"
    ):
        load(recording(), pictures, events=events)
    events["duration"] = ["0", "0", "0", "inf"]
    assert load(recording(), pictures, events=events.replace("boundary", "bad")).table["stimulus"].tolist() == ["cup"]
    events["duration"] = ["0", "0", "0", "long"]
    with pytest.raises(PhospheneError, match=r"table, row 3 \(from 0\): duration 'long' is not a number: correct it"):
        load(recording(), pictures, events=events)


def given(pictures, way):
    table = pd.DataFrame({"stimulus": NAMES, "image": [str(pictures / f"{n}.png") for n in NAMES]})
    return {
        "folder": {"stimuli": pictures},
        "table": {"stimuli": table},
        "mapping": {"stimuli": {n: pictures / f"{n}.png" for n in NAMES}},
        "pattern": {"stimuli": None, "image": f"{pictures}/{{stimulus}}.png"},
    }[way]


@pytest.mark.parametrize("way", ["folder", "table", "mapping", "pattern"])
def test_the_name_of_a_picture_is_no_stretch(pictures, way):
    raw = recording((4.9, 0.3, "bad"), names=("badge", "edge", "cup"))
    trials = from_mne(raw, **given(pictures, way), **STEPS)
    assert trials.table["stimulus"].tolist() == ["badge", "edge"]
    assert "called like bad stretches, but pictures, and used as such: 'badge', 'edge'" in trials.notes
    assert "1 of 3 epochs dropped (1 in the bad stretch 'bad')" in dropped(trials)


def test_an_annotation_called_like_a_picture_file_is_no_stretch_where_codes_are_events(pictures):
    raw = recording(names=("badge", "dog", "hat"))
    events = np.array([[100, 0, 1], [300, 0, 2]])
    trials = load(raw, {"1": pictures / "badge.png", "2": pictures / "dog.png"}, events=events)
    assert len(trials) == 2


@pytest.mark.parametrize("name", ["cup", "blackboard", "unbad", "knowledge", "boundary stone", "New Segments", "abode"])
def test_other_names_are_no_stretches(name):
    assert not STRETCH.match(name)


def test_epochs_of_mne_tell_what_they_span_and_what_mne_dropped(pictures):
    raw = recording((1.2, 0.0, "boundary"), (3.1, 0.1, "BAD_x"))
    events, codes = mne.events_from_annotations(raw, regexp="cup|dog|hat", verbose="error")
    epochs = mne.Epochs(raw, events, codes, -0.1, 0.4, None, preload=True, verbose="error")
    notes = from_mne(epochs, pictures).notes
    assert "run 1: epochs that MNE had dropped: 1 (BAD_x 1)" in notes
    assert "run 1: epochs that hold part of a bad stretch, kept as MNE gave them: 1 of 'boundary'" in notes


# -- recordings of which nothing is left ------------------------------------------------------------------


def test_a_recording_of_which_nothing_is_left_is_left_out_where_others_remain(pictures):
    lost = recording((0.0, 6.0, "bad_all"), seed=1)
    silent = recording(seed=2).set_annotations(None)
    trials = load([lost, recording(), silent], pictures)
    assert set(trials.table["run"]) == {"02"}
    assert any(n.startswith("run 1 left out: none of 3 epochs is left") and "'bad_all'" in n for n in trials.notes)
    assert "run 3 holds no event: left out" in trials.notes
    with pytest.raises(PhospheneError, match=r"run 1: none of 3 epochs is left: .*3 in the bad stretch 'bad_all'"):
        load([lost, lost], pictures)


@pytest.mark.parametrize(
    "events",
    [
        np.empty((0, 3), int),
        pd.DataFrame({"onset": [], "stimulus": []}),
        pd.DataFrame(columns=["onset", "trial_type"]),
        "onset,stimulus\n",
        "onset\ttrial_type\n",
    ],
    ids=["array", "frame", "columns", "csv", "tsv"],
)
def test_no_event_at_all_is_one_line(pictures, tmp_path, events):
    if isinstance(events, str):
        path = tmp_path / ("e.tsv" if "\t" in events else "e.csv")
        path.write_text(events)
        events = path
    with pytest.raises(PhospheneError, match="there are no events: check the event table"):
        load(recording(), pictures, events=events)
    some = pd.DataFrame({"onset": [1.0], "stimulus": ["cup"]})
    trials = load([recording(), recording()], pictures, events=[some, events])
    assert len(trials) == 1
    assert "run 2 holds no event: left out" in trials.notes


def test_stretches_alone_are_told(pictures):
    with pytest.raises(PhospheneError, match="the annotations name bad stretches alone: no event shows a picture"):
        load(recording((1.0, 1.0, "bad"), onsets=()), pictures)


@pytest.mark.parametrize("word", ["badminton", "Badger", "edges"])
def test_a_word_without_a_picture_is_told_to_be_taken_for_a_stretch(pictures, word):
    rows = pd.DataFrame({"onset": [1.0, 3.0, 5.0], "duration": 0.5, "stimulus": ["cup", word, "hat"]})
    trials = load(recording(), pictures, events=rows)
    assert trials.table["stimulus"].tolist() == ["cup", "hat"]
    assert f"'{word}' has no picture and is taken for a bad stretch (1 such): add it if it was shown" in trials.notes


@pytest.mark.parametrize("name", NAMED_BAD)
def test_what_is_surely_a_stretch_needs_no_such_note(pictures, name):
    stimuli = {n: pictures / f"{n}.png" for n in NAMES if n != name}
    assert not any("add it if it was shown" in note for note in load(recording((3.1, 0.2, name)), stimuli).notes)
