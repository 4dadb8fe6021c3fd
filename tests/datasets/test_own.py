"""Own MNE objects and arrays become `Trials`; what does not fit is told in one line."""

from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from phosphene.datasets.own import from_mne
from phosphene.eeg.preprocessing import Preprocessing
from phosphene.errors import PhospheneError

SFREQ = 100.0
NAMES = ("badge", "cup", "dog")
ORDER = [n for n in NAMES * 4]
ONSETS = 1.0 + np.arange(len(ORDER))
LATE = pd.DataFrame({"onset": [1e3], "trial_type": "cup"})
STEPS = {
    "l_freq": None,
    "h_freq": None,
    "tmin": -0.1,
    "tmax": 0.3,
    "baseline": (-0.1, -0.01),
    "sfreq": None,
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for name in NAMES:
        Image.new("RGB", (8, 8), "red").save(folder / f"{name}.png")
    return folder


def recording(first: float = 0.0, dated: bool = False) -> mne.io.BaseRaw:
    """Oz is lifted by 1, 2, 3 uV while badge, cup, dog are shown; annotated; it may start late and know its date."""
    data = np.zeros((4, 1400))
    for name, onset in zip(ORDER, ONSETS, strict=True):
        data[2, round(onset * SFREQ) :][:30] = 1e-6 * (1 + NAMES.index(name))
    info = mne.create_info(["Cz", "Pz", "Oz", "EOG"], SFREQ, ["eeg"] * 3 + ["eog"])
    raw = mne.io.RawArray(data, info, first_samp=round(first * SFREQ), verbose="error")
    if dated:
        raw.set_meas_date(1e9)
    raw.set_annotations(mne.Annotations([*ONSETS, 0.2], [0.3] * len(ORDER) + [0.1], [*ORDER, "BAD_move"]))
    return raw


def lifted(trials) -> np.ndarray:
    """Which picture the EEG of each trial holds."""
    level = 1e6 * trials.pick(["Oz"]).crop(0.0, 0.29).eeg.mean(axis=(1, 2))
    assert np.abs(level - level.round()).max() < 1e-3
    return np.array(NAMES)[level.round().astype(int) - 1]


@pytest.mark.parametrize("first", [0.0, 20.0])
@pytest.mark.parametrize("dated", [False, True])
def test_annotations_become_trials(pictures, first, dated):
    trials = from_mne(recording(first, dated), pictures, **STEPS)
    assert trials.eeg.shape == (12, 3, 40)
    assert (lifted(trials) == ORDER).all()
    assert list(trials.table["stimulus"]) == ORDER
    assert list(trials.table["repeat"]) == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    np.testing.assert_allclose(trials.table["onset"], ONSETS)
    assert Path(trials.stimuli.loc["cup", "image"]) == (pictures / "cup.png").resolve()


@pytest.mark.parametrize("first", [0.0, 20.0])
def test_events_may_be_a_table_a_file_or_an_event_array(pictures, first, tmp_path):
    raw = recording(first)
    table = pd.DataFrame({"onset": ONSETS, "what": ORDER, "run": 7, "session": "b"})
    (tmp_path / "events.tsv").write_text(table.to_csv(sep="\t", index=False))
    codes = np.column_stack([raw.first_samp + ONSETS * SFREQ, 0 * ONSETS, [1 + NAMES.index(n) for n in ORDER]])
    files = {i: pictures / f"{name}.png" for i, name in enumerate(NAMES, start=1)}
    for trials in (
        from_mne(raw, pictures, events=table, event="what", **STEPS),
        from_mne(raw, events=tmp_path / "events.tsv", event="what", image=f"{pictures}/{{what}}.png", **STEPS),
    ):
        assert (lifted(trials) == ORDER).all()
        assert set(trials.table["run"]) == {"7"}
        assert set(trials.table["session"]) == {"b"}
    trials = from_mne(raw, files, events=codes.astype(int), **STEPS)
    assert [Path(trials.stimuli.loc[s, "image"]).stem for s in trials.table["stimulus"]] == ORDER
    assert (lifted(trials) == ORDER).all()


def test_several_recordings_are_runs(pictures):
    trials = from_mne([recording(), recording(5.0)], pictures, subject="x", split={"run": "02"}, **STEPS)
    assert trials.table.groupby(["subject", "run", "split"]).size().to_dict() == {
        ("x", "01", "train"): 12,
        ("x", "02", "test"): 12,
    }
    assert trials.table["repeat"].max() == 8


def test_only_kept_events_need_pictures(pictures):
    raw = recording()
    raw.annotations.append([0.5, 13.4], [0, 0], ["press", "boundary"])
    with pytest.raises(PhospheneError, match=r"event 'press' of the annotations has no picture \(1 such\).* with keep"):
        from_mne(raw, pictures, **STEPS)
    for keep in (list(NAMES), {"stimulus": ["*d*", "cup"]}):
        assert len(from_mne(raw, pictures, keep=keep, **STEPS)) == 12
    assert set(from_mne(raw, pictures, keep="cup", **STEPS).table["stimulus"]) == {"cup"}


def test_a_bad_stretch_drops_its_epochs_alone(pictures):
    raw = recording()
    raw.annotations.append(2.1, 0.1, "bad")
    trials = from_mne(raw, pictures, **STEPS)
    assert len(trials) == 11
    assert (lifted(trials) == np.delete(ORDER, 1)).all()
    assert "badge" in set(trials.table["stimulus"])
    assert (raw.annotations.description == "badge").sum() == 4  # the user's own object is untouched


def test_channels_are_renamed_placed_and_resampled(pictures):
    steps = {**STEPS, "rename": {"Oz": "O2"}, "montage": "standard_1005", "sfreq": 50.0, "picks": ["O2", "Cz"]}
    trials = from_mne(recording(), pictures, **steps)
    assert trials.signal.ch_names == ("O2", "Cz")
    assert trials.signal.positions is not None
    assert trials.eeg.shape == (12, 2, 20)


def test_pictures_in_folders_are_of_the_folders_concept(pictures, tmp_path):
    for name in NAMES:
        (tmp_path / ("thing" if name != "dog" else "animal")).mkdir(exist_ok=True)
        image = tmp_path / ("thing" if name != "dog" else "animal") / f"{name}.png"
        image.write_bytes((pictures / f"{name}.png").read_bytes())
    trials = from_mne(recording(), tmp_path, split={"concept": "animal"}, **STEPS)
    assert trials.stimuli["concept"].to_dict() == {"badge": "thing", "cup": "thing", "dog": "animal"}
    assert set(trials.table["stimulus"][trials.table["split"] == "test"]) == {"dog"}
    (tmp_path / "animal" / "cup.jpg").write_bytes((pictures / "cup.png").read_bytes())
    with pytest.raises(PhospheneError, match=r"event 'cup' may mean animal/cup.jpg or thing/cup.png: give the path"):
        from_mne(recording(), tmp_path, **STEPS)


@pytest.mark.parametrize(
    "path", ["./{}/{}.png", "stimuli/{}/{}.png", "/data/lab/stimuli/{}/{}", r"C:\stimuli\{}\{}.png"]
)
def test_events_may_name_paths_of_the_machine_that_showed_them(pictures, tmp_path, path):
    folders = {"badge": "a", "cup": "a", "dog": "b"}
    for name, folder in folders.items():
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f"{name}.png").write_bytes((pictures / f"{name}.png").read_bytes())
    (tmp_path / "b" / "cup.png").write_bytes((pictures / "cup.png").read_bytes())  # another cup
    raw = recording()
    raw.annotations.rename({name: path.format(folder, name) for name, folder in folders.items()})
    shown = from_mne(raw, tmp_path, **STEPS).stimuli["image"]
    assert {Path(image).relative_to(tmp_path).as_posix() for image in shown} == {
        "a/badge.png",
        "a/cup.png",
        "b/dog.png",
    }
    (tmp_path / "a" / "cup.png").unlink()
    with pytest.raises(PhospheneError, match="cup.* has no picture"):  # never the other cup
        from_mne(raw, tmp_path, **STEPS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rename": {"O1": "O2"}}, "cannot rename channel 'O1': did you mean 'Oz'?"),
        ({"montage": "GSN-HydroCel-65_1.0"}, "is not in montage GSN-HydroCel-65_1.0: "),
        ({"montage": "standard_2010"}, "unknown montage 'standard_2010': did you mean 'standard_1020'?"),
        ({"tmax": 800.0}, "none of 12 epochs is left: check preprocessing.reject, tmin and tmax"),
        ({"tmaxx": 0.8}, "unknown key 'tmaxx' of from_mne: did you mean 'tmax'?"),
        ({"stimuli": None}, "where are the pictures? Set stimuli to a table or a folder of them"),
        ({"stimuli": "nowhere"}, "nowhere does not exist: set stimuli to a table (csv, tsv) or a folder"),
        ({"stimuli": {"badge": "a", "cup": "b"}}, "event 'dog' of the annotations has no picture (1 such)"),
        ({"stimuli": {"badge": "a.png", "cup": "b.png", "dog": "c.png"}}, "a.png of stimulus 'badge' is missing"),
        ({"keep": "kup"}, "no row has stimulus = kup: did you mean 'cup'? (set keep)"),
        ({"events": LATE}, "run 1: the event at 1000 lies outside the recording (0 to 13.99 s): onsets are seconds"),
        ({"events": LATE, "event": "trialtype"}, "the event table has no column 'trialtype': did you mean"),
        ({"events": np.zeros((3, 2))}, "give (n_events, 3), as mne.find_events returns it"),
        ({"split": {"concept": float("nan")}}, "split: a share is above 0 and below 1, not nan, such as 0.2"),
        ({"split": {"concept": 1.0}}, "split: a share is above 0 and below 1, not 1, such as 0.2"),
        ({"split": {"concept": -0.2}}, "split: a share is above 0 and below 1, not -0.2, such as 0.2"),
        ({"events": [None, None]}, "1 recordings and 2 event tables"),
        ({"preprocessing": Preprocessing()}, "give preprocessing or l_freq"),
        ({"split": {"concept": "cat"}}, "split: no concept is 'cat'"),
    ],
    ids=lambda v: v[:40] if isinstance(v, str) else "",
)
def test_what_does_not_fit_is_told_in_one_line(pictures, arguments, message):
    with pytest.raises(PhospheneError) as error:
        from_mne(recording(), **{"stimuli": pictures, **STEPS, **arguments})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [int, float, np.int32, np.uint16])
def test_event_arrays_of_every_kind_of_number(pictures, kind):
    """`np.loadtxt` gives floats: the code 2.0 is called "2"."""
    rows = np.array(
        [[round(onset * SFREQ), 0, 1 + NAMES.index(name)] for name, onset in zip(ORDER, ONSETS, strict=True)]
    )
    stimuli = {str(1 + i): pictures / f"{name}.png" for i, name in enumerate(NAMES)}
    trials = from_mne(recording(), stimuli, events=rows.astype(kind), **STEPS)
    assert [NAMES[int(name) - 1] for name in trials.table["stimulus"]] == ORDER
    assert (lifted(trials) == ORDER).all()


def test_other_objects_and_silent_recordings_are_refused(pictures):
    with pytest.raises(PhospheneError, match="takes mne Raw or Epochs objects, not Info"):
        from_mne([recording().info], pictures)
    with pytest.raises(PhospheneError, match="no annotations: give events"):
        from_mne(recording().set_annotations(None), pictures)


def epochs(metadata: pd.DataFrame | None = None, **options) -> mne.Epochs:
    raw = recording()
    events, codes = mne.events_from_annotations(raw, regexp="(?!BAD_)", verbose="error")  # MNE takes "badge" as bad
    return mne.Epochs(
        raw,
        events,
        codes,
        -0.1,
        0.29,
        (-0.1, -0.01),
        metadata=metadata,
        reject_by_annotation=False,
        verbose="error",
        **options,
    )


@pytest.mark.parametrize("preload", [True, False])
def test_epochs_keep_what_they_have(pictures, preload):
    own = epochs(preload=preload)
    trials = from_mne(own, pictures)
    assert trials.eeg.shape == (12, 3, 40)
    assert (lifted(trials) == ORDER).all()
    assert trials.signal.tmin == pytest.approx(-0.1)
    assert trials.signal.sfreq == SFREQ
    assert own.preload == preload
    assert "EOG" in own.ch_names


def test_metadata_says_what_was_shown(pictures):
    table = pd.DataFrame({"picture": ORDER[::-1], "session": ["a"] * 6 + ["b"] * 6, "split": ["train", "test"] * 6})
    trials = from_mne(epochs(table), pictures, event="picture", keep={"session": "b"})
    assert list(trials.table["stimulus"]) == ORDER[::-1][6:]
    assert list(trials.table["split"]) == ["train", "test"] * 3
    assert (lifted(trials) == ORDER[6:]).all()
    with pytest.raises(PhospheneError, match="epochs.metadata has no column 'pictur': did you mean 'picture'"):
        from_mne(epochs(table), pictures, event="pictur")


def test_dropped_epochs_stay_dropped(pictures):
    """dog is lifted by 3 uV, above the limit."""
    own = epochs(pd.DataFrame({"stimulus": ORDER, "n": range(12)}), reject={"eeg": 2.5e-6})
    trials = from_mne(own, pictures)
    assert (lifted(trials) == trials.table["stimulus"]).all()
    assert list(trials.table["n"]) == [0, 1, 3, 4, 6, 7, 9, 10]


def test_epochs_are_cropped_and_resampled_when_told(pictures):
    trials = from_mne(epochs(), pictures, tmin=0.0, tmax=0.2, rename={"Oz": "O2"}, montage="standard_1005")
    assert (trials.n_times, trials.signal.tmin) == (20, 0.0)
    assert trials.signal.ch_names[2] == "O2"
    assert trials.signal.positions is not None
    assert from_mne(epochs(), pictures, sfreq=50.0).n_times == 20


def test_epochs_refuse_what_comes_too_late_for_them(pictures):
    with pytest.raises(PhospheneError, match="l_freq"):
        from_mne(epochs(), pictures, l_freq=1.0)
    with pytest.raises(PhospheneError, match="put the table into epochs.metadata"):
        from_mne(epochs(), pictures, events=LATE)
    with pytest.raises(PhospheneError, match="recordings and epochs are mixed"):
        from_mne([epochs(), recording()], pictures)
    with pytest.raises(PhospheneError) as error:
        from_mne(epochs(), pictures, tmin=-0.1, tmax=0.8)
    assert "\n" not in str(error.value)
