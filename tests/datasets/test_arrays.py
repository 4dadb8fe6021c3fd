"""An own array with tables becomes `Trials`; what is wrong with it is told in one line."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors.numpy import save_file

from conftest import make_trials
from phosphene.datasets.own import from_arrays
from phosphene.datasets.stored import check_values, open_eeg
from phosphene.eeg.preprocessing import Preprocessing
from phosphene.eeg.trials import Trials, concatenate
from phosphene.errors import PhospheneError
from phosphene.registry import build
from phosphene.runs.experiment import Experiment
from phosphene.runs.recipe import Recipe

CHANNELS = ["Fz", "Cz", "Oz"]
NAMES = ["cup", "dog", "hat"]
FACTS = {"ch_names": CHANNELS, "sfreq": 100.0, "tmin": -0.1, "unit": "uV"}
AS_STORED = {"l_freq": None, "h_freq": None, "tmin": -0.1, "tmax": 0.4, "baseline": None, "sfreq": None}


def microvolts(n_trials: int = 12, n_times: int = 50) -> np.ndarray:
    """EEG of about 10 uV; the first sample of the first channel counts the trials."""
    x = 10 * np.random.default_rng(0).standard_normal((n_trials, 3, n_times))
    x[:, 0, 0] = np.arange(n_trials)
    return x.astype(np.float32)


@pytest.fixture
def study(tmp_path) -> Path:
    """Two subjects whose rows alternate; `eeg.npy`, `table.csv`, `stimuli.csv` and pictures below `pictures/`."""
    np.save(tmp_path / "eeg.npy", microvolts())
    (tmp_path / "pictures").mkdir()
    for name in NAMES:
        Image.new("RGB", (8, 8), "red").save(tmp_path / "pictures" / f"{name}.png")
    table = pd.DataFrame({"stimulus": NAMES * 4, "subject": ["01", "02"] * 6, "session": "a"})
    table.to_csv(tmp_path / "table.csv", index=False)
    stimuli = pd.DataFrame({"stimulus": NAMES, "image": [f"pictures/{n}.png" for n in NAMES]})
    stimuli["concept"], stimuli["split"] = ["thing", "animal", "thing"], ["train", "train", "test"]
    stimuli.to_csv(tmp_path / "stimuli.csv", index=False)
    return tmp_path


def load(root: Path, **arguments):
    return build("dataset", "arrays", root=root, **{**FACTS, **arguments}).load(Preprocessing(**AS_STORED))


def test_rows_keep_their_eeg_in_volts(study):
    trials = load(study)
    assert trials.eeg.shape == (12, 3, 50)
    assert list(trials.table["subject"].unique()) == ["01", "02"]
    order = [*range(0, 12, 2), *range(1, 12, 2)]  # by subject
    np.testing.assert_allclose(np.asarray(trials.eeg), 1e-6 * microvolts()[order], rtol=1e-6)
    assert list(trials.table["stimulus"]) == [(NAMES * 4)[i] for i in order]
    assert list(trials.table["repeat"]) == [1, 1, 1, 2, 2, 2] * 2
    assert trials.signal.ch_names == tuple(CHANNELS)
    assert (trials.signal.sfreq, trials.signal.tmin) == (100.0, -0.1)
    assert trials.table["split"].value_counts().to_dict() == {"train": 8, "test": 4}
    assert trials.stimuli.loc["hat", "concept"] == "thing"


def test_one_subject_and_some_rows(study):
    trials = load(study, subject="02", keep={"stimulus": ["cup", "h?t"]})
    np.testing.assert_allclose(np.asarray(trials.eeg)[:, 0, 0], 1e-6 * np.array([3, 5, 9, 11]), rtol=1e-6)
    assert set(trials.table["stimulus"]) == {"cup", "hat"}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int16])
def test_files_of_other_types(study, dtype):
    np.save(study / "other.npy", microvolts().astype(dtype))
    expected = 1e-6 * microvolts().astype(dtype).astype(float)
    np.testing.assert_allclose(
        np.asarray(load(study, eeg="other.npy", subject="01").eeg), expected[::2], rtol=1e-5, atol=1e-12
    )
    if dtype != np.int16:
        save_file({"x": microvolts().astype(dtype)}, study / "eeg.safetensors")
        again = load(study, eeg="eeg.safetensors", subject="01")
        np.testing.assert_allclose(np.asarray(again.eeg), expected[::2], rtol=1e-5, atol=1e-12)


def test_arrays_stay_on_disk(study):
    save_file({"eeg": microvolts(), "other": np.zeros(3)}, study / "eeg.safetensors")
    for name in ("eeg.npy", "eeg.safetensors"):
        eeg = open_eeg(study / name)
        assert isinstance(eeg, np.memmap)
        assert not eeg.flags.writeable
        np.testing.assert_array_equal(eeg, microvolts())


def test_pictures_may_be_a_folder_or_a_column(study):
    (study / "stimuli.csv").unlink()
    assert set(load(study, stimuli="pictures").table["split"]) == {"train"}
    table = pd.read_csv(study / "table.csv", dtype=str)
    table.assign(image="pictures/" + table["stimulus"] + ".png").to_csv(study / "table.csv", index=False)
    for arguments in ({}, {"image": "image"}, {"image": "pictures/{stimulus}.png"}):
        trials = load(study, **arguments)
        assert {Path(p).stem for p in trials.stimuli["image"]} == set(NAMES)


def test_channel_names_may_stand_in_a_file(study):
    (study / "channels.txt").write_text("Fz\nCz\n\nOz\n")
    assert load(study, ch_names="channels.txt").signal.ch_names == tuple(CHANNELS)


def test_what_trials_save_wrote_needs_its_root_alone(tmp_path):
    made = make_trials(tmp_path / "pictures", subjects=("01", "02"))
    made.notes.append("one electrode fell off")
    dataset = build("dataset", "arrays", root=made.save(tmp_path / "trials"))
    trials = dataset.load(dataset.steps({}))
    np.testing.assert_array_equal(np.asarray(trials.eeg), made.eeg)
    pd.testing.assert_frame_equal(trials.table, made.table, check_dtype=False)
    pd.testing.assert_frame_equal(trials.stimuli, made.stimuli, check_dtype=False)
    assert trials.signal == made.signal
    assert "one electrode fell off" in trials.notes


def test_filters_are_refused_for_what_is_stored_as_epochs(study):
    for key in ("l_freq", "h_freq", "notch"):
        with pytest.raises(PhospheneError, match=f"preprocessing.{key} cannot be applied"):
            build("dataset", "arrays", root=study, **FACTS).steps({key: 10.0})


def edit(study: Path, old: str, new: str, name: str = "table.csv") -> None:
    text = (study / name).read_text()
    assert old in text
    (study / name).write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eeg": "egg.npy"}, "egg.npy does not exist: did you mean 'eeg.npy'? (set dataset.eeg)"),
        ({"table": "tabel.csv"}, "tabel.csv is missing"),
        ({"event": "stimulos"}, "table.csv has no column 'stimulos': did you mean 'stimulus'? (set dataset.event)"),
        ({"stimuli": "stimul.csv"}, "stimul.csv does not exist: set dataset.stimuli"),
        ({"subject": "03"}, "subject '03' was not found under"),
        ({"ch_names": ["Fz", "Cz"]}, "has 3 channels (12, 3, 50) and ch_names 2: name every channel"),
        ({"ch_names": [f"E{i}" for i in range(50)]}, "ch_names 50: transpose it, X.transpose(0, 2, 1)"),
        ({"ch_names": ["Fz", "Cz", "Cz"]}, "channel 'Cz' is named twice"),
        ({"ch_names": "names.txt"}, "names.txt does not exist: set dataset.ch_names"),
        ({"ch_names": None}, "the channels are not named: set dataset.ch_names"),
        ({"sfreq": None}, "the sampling rate is not said: set dataset.sfreq"),
        ({"tmin": None}, "the time of the first sample is not said: set dataset.tmin"),
        ({"unit": "V"}, "V, which is implausible for EEG: they look like uV, set dataset.unit to uV"),
        ({"unit": "nV"}, "nV, which is implausible for EEG: they look like uV, set dataset.unit to uV"),
        ({"unit": "volts"}, "unknown unit 'volts'"),
        ({"split": {"concept": 0.1}}, "a share of 0.1 leaves 0 of 2 concepts for the test"),
        ({"split": "part"}, "no column 'part'"),
        ({"keep": {"subject": "3"}}, "no row has subject = 3"),
    ],
    ids=lambda v: v[:40] if isinstance(v, str) else "",
)
def test_wrong_settings_are_told_in_one_line(study, arguments, message):
    with pytest.raises(PhospheneError) as error:
        load(study, **arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_table_that_does_not_fit_is_told(study):
    edit(study, "hat,02,a\n", "hat,02,a\ndog,02,a\n")
    with pytest.raises(PhospheneError, match=r"eeg.npy holds 12 trials and .*table.csv 14 rows: give one row for each"):
        load(study)
    edit(study, "hat,02,a\ndog,02,a\n", "cap,02,a\n")
    with pytest.raises(PhospheneError, match=r"event 'cap' of table.csv has no picture .*did you mean 'cup'"):
        load(study)


def test_a_missing_picture_is_named(study):
    (study / "pictures/dog.png").unlink()
    with pytest.raises(PhospheneError, match=r"picture .*dog.png of stimulus 'dog' is missing"):
        load(study)
    (study / "stimuli.csv").unlink()
    with pytest.raises(PhospheneError, match=r"where are the pictures\? Set dataset.stimuli"):
        load(study)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((12, 3)), "has the axes (12, 3): save (n_trials, n_chans, n_times)"),
        (np.zeros((3, 4, 3, 50)), "has the axes (3, 4, 3, 50): save (n_trials, n_chans, n_times), such as X.reshape("),
        (np.zeros((12, 3, 50)), "does not vary in time"),
        (np.zeros((12, 3, 50), complex), "holds complex128, not real numbers"),
        (np.where(np.arange(1800).reshape(12, 3, 50) == 800, np.nan, microvolts()), "trial 5 (from 0) holds NaN"),
    ],
    ids=["two axes", "four axes", "zeros", "complex", "gap"],
)
def test_wrong_arrays_are_told_in_one_line(study, array, message):
    np.save(study / "eeg.npy", array)
    with pytest.raises(PhospheneError) as error:
        load(study)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            np.array([microvolts(2), None], object),
            "holds Python objects, not an array of numbers: save the array alone",
        ),
        (
            {"eeg": microvolts(2), "ch": CHANNELS},
            "holds a dict (eeg, ch), not an array of numbers: save the array alone",
        ),
    ],
    ids=["objects", "dict"],
)
def test_an_npy_of_objects_is_refused(study, value, message):
    np.save(study / "eeg.npy", value, allow_pickle=True)
    with pytest.raises(PhospheneError) as error:
        load(study)
    assert f"eeg.npy {message}" in str(error.value)
    assert "\n" not in str(error.value)


def test_other_formats_are_refused_with_the_way_to_save_them(study):
    np.savez(study / "eeg.npz", X=microvolts())
    with pytest.raises(PhospheneError, match=r"save the array alone, np.save\('eeg.npy', np.load\('eeg.npz'\)\["):
        load(study, eeg="eeg.npz")
    (study / "eeg.mat").write_bytes(b"x")
    with pytest.raises(PhospheneError, match="eeg.mat is in an unsupported format: save it with np.save"):
        load(study, eeg="eeg.mat")
    save_file({"a": microvolts(), "b": microvolts()}, study / "two.safetensors")
    with pytest.raises(PhospheneError, match="holds the tensors a, b: save the EEG alone"):
        load(study, eeg="two.safetensors")
    (study / "cut.safetensors").write_bytes((study / "two.safetensors").read_bytes()[:500])
    with pytest.raises(PhospheneError, match="cut.safetensors cannot be read"):
        load(study, eeg="cut.safetensors")
    (study / "eeg.npy").write_bytes((study / "eeg.npy").read_bytes()[:500])
    with pytest.raises(PhospheneError, match=r"eeg.npy"):
        load(study)


def test_times_that_do_not_fit_are_told(study):
    dataset = build("dataset", "arrays", root=study, **FACTS)
    for wrong in ({"tmax": 0.9}, {"tmin": -0.3}):
        with pytest.raises(PhospheneError) as error:
            dataset.load(Preprocessing(**{**AS_STORED, **wrong}))
        assert "0.9" in str(error.value) or "-0.3" in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("scale", "unit", "factor"),
    [(1e-5, "V", 1.0), (1e-2, "mV", 1e-3), (10.0, "uV", 1e-6), (10.0, "µV", 1e-6), (1.0, "standardised", 1.0)],
)
def test_units_scale_to_volts(scale, unit, factor):
    x = scale * np.random.default_rng(0).standard_normal((5, 3, 40))
    assert check_values(x, unit, "x") == factor


def test_what_is_whitened_is_not_whitened_again(study, tmp_path):
    np.save(study / "eeg.npy", microvolts() / 10)
    recipe = {
        "name": "x",
        "dataset": {"name": "arrays", "root": str(study), **FACTS, "unit": "whitened"},
        "preprocessing": {},
        "whitening": "epochs",
        "method": {"name": "nice", "encoder": "projection"},
    }
    experiment = Experiment(Recipe.read(recipe), tmp_path / "run")
    with pytest.raises(PhospheneError, match="whitened already: set whitening to null"):
        experiment.prepare()
    assert not experiment.out.joinpath("trials").exists()
    trials = load(study, unit="whitened")
    assert trials.signal.unit == "whitened"
    assert Trials.load(trials.save(tmp_path / "saved")).signal.unit == "whitened"
    with pytest.raises(PhospheneError, match="recordings are in whitened and V"):
        concatenate([trials, replace(trials, signal=replace(trials.signal, unit="V"))])


@pytest.mark.parametrize(("scale", "likely"), [(1.0, "uV"), (30.0, "uV"), (1e-2, "mV"), (1e4, "nV")])
def test_a_wrong_unit_is_recognised(scale, likely):
    x = 1.5 * scale * np.random.default_rng(0).standard_normal((5, 3, 40))
    with pytest.raises(PhospheneError, match=f"set dataset.unit to {likely} "):
        check_values(x, "V", "x")


def test_arrays_from_python(study):
    table = [{"stimulus": n, "run": i} for i, n in enumerate(NAMES)]
    trials = from_arrays(
        microvolts(3).astype(float),
        table,
        study / "pictures",
        **FACTS,
        montage="standard_1005",
        split={"stimulus": "hat"},
    )
    np.testing.assert_allclose(np.asarray(trials.eeg), 1e-6 * microvolts(3), rtol=1e-6)
    assert trials.signal.positions is not None
    assert list(trials.table["split"]) == ["train", "train", "test"]
    assert list(trials.table["run"]) == ["0", "1", "2"]
    assert set(trials.table["subject"]) == {"01"}
    pd.DataFrame(table).to_csv(study / "t.csv", index=False)
    same = from_arrays(microvolts(3), study / "t.csv", study / "pictures", **FACTS)
    assert list(same.table["stimulus"]) == NAMES
    with pytest.raises(PhospheneError, match="X holds 12 trials and table 3 rows"):
        from_arrays(microvolts(), table, study / "pictures", **FACTS)
    with pytest.raises(PhospheneError, match="set unit to uV"):
        from_arrays(microvolts(3), table, study / "pictures", **{**FACTS, "unit": "V"})
    with pytest.raises(PhospheneError, match=r"channel 'E7' is not in montage standard_1005: .*rename"):
        from_arrays(
            microvolts(3),
            table,
            study / "pictures",
            **{**FACTS, "ch_names": ["E7", "Cz", "Oz"]},
            montage="standard_1005",
        )


def test_masked_values_are_never_used(study):
    table, x = [{"stimulus": n} for n in NAMES], microvolts(3)
    with pytest.raises(
        PhospheneError, match="X has masked values, but the mask would be ignored: leave out the masked trials"
    ):
        from_arrays(np.ma.masked_greater(x, 0), table, study / "pictures", **FACTS)
    plain = from_arrays(np.ma.masked_array(x), table, study / "pictures", **FACTS)
    np.testing.assert_allclose(np.asarray(plain.eeg), 1e-6 * x, rtol=1e-6)


def test_a_saved_signal_says_what_the_recipe_leaves_out(study):
    (study / "signal.json").write_text(json.dumps(FACTS))
    dataset = build("dataset", "arrays", root=study, tmin=0.0)
    trials = dataset.load(Preprocessing(**{**AS_STORED, "tmin": 0.0, "tmax": 0.5}))
    assert trials.signal.tmin == 0.0
    assert trials.signal.ch_names == tuple(CHANNELS)
