"""A recipe is refused before anything is prepared, and no model is loaded for it."""

import importlib.util
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

import small_studies
from phosphene.backbones import table as backbones
from phosphene.cli import app
from phosphene.datasets.arrays import Arrays
from phosphene.errors import MissingExtra, PhospheneError
from phosphene.runs.checks import check
from phosphene.runs.experiment import Experiment
from phosphene.runs.recipe import SHIPPED, Recipe

MINIMAL = {
    "name": "x",
    "dataset": {"name": "synthetic", "root": "somewhere"},
    "method": {"name": "nice"},
    "preprocessing": {"tmin": -0.1, "tmax": 0.7, "sfreq": 125.0},
}

SD15 = {"name": "diffusion", "backbone": "sd15"}


@pytest.fixture
def no_model(monkeypatch):
    """Nothing is read of a pretrained model."""
    monkeypatch.setattr(backbones, "_readable", lambda row: pytest.fail(f"{row.name} was loaded"))  # all loaders ask it


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipes_are_sound(name, no_model):
    check(Recipe.read(name, {"dataset.root": "somewhere"}), data=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method.encoder_args": {"kernel": 200}}, "method.encoder_args: 100 samples are too few for kernel 200"),
        ({"method.encoder_args": {"kernel": 50}, "window": [0, 0.5]}, "63 samples are too few for kernel 50"),
        ({"method": {"name": "atm", "encoder_args": {"n_heads": 101}}}, "101 heads do not fit tokens of width 100"),
        ({"window": [0, 0.9]}, r"window edge 0.9 s lies outside the trials \(-0.1 to 0.7 s\)"),
        ({"window": [-0.3, None]}, "window edge -0.3 s lies outside the trials"),
        ({"window": [0, 0.5], "silenced_outside": [0, 0.6]}, r"silenced_outside edge 0.6 s .* window \(0 to 0.5 s\)"),
        ({"protocol.split": "leave_one_subject_out"}, "set protocol.subjects to 'joint'"),
        ({"protocol.split": "within_session", "protocol.subjects": "joint"}, "set protocol.subjects to 'within'"),
        ({"generator": SD15}, "128 wide and the adapter of backbone 'sd15'"),
        ({"generator": {"name": "diffusion", "backbone": "sd21"}}, "'sd21' has no image-prompt adapter"),
        ({"method.name": "lda", "generator": {"name": "diffusion"}}, "'lda' does not generate pictures"),
        ({"method": {"name": "synapse"}, "generator": SD15}, "tunes the U-Net of"),
        (
            {"method": {"name": "synapse", "drawing": "frozen"}, "generator": SD15},
            "tokens are 128 wide and backbone 'sd15' reads 768",
        ),
        (
            {"method": {"name": "atm", "low_level": "small", "strength": 0.1}, "generator": {"name": "diffusion"}},
            "strength 0.1 of 8 steps leaves none to draw",
        ),
    ],
)
def test_parts_that_do_not_fit_each_other_are_refused(change, message, no_model):
    with pytest.raises(PhospheneError, match=message):
        check(Recipe.read(MINIMAL, change), data=False)


def test_what_the_recipe_does_not_say_is_no_fault():
    """The rate decides how many samples there are, and the channels how many heads fit."""
    check(Recipe.read(MINIMAL, {"preprocessing.sfreq": None, "method.encoder_args": {"kernel": 200}}), data=False)
    args = {"family": "time", "n_heads": 9}
    check(Recipe.read(MINIMAL, {"method": {"name": "atm", "encoder_args": args}}), data=False)
    with pytest.raises(PhospheneError, match="9 heads do not fit tokens of width 4"):
        four = {"channels": ["A", "B", "C", "D"], "method": {"name": "atm", "encoder_args": args}}
        check(Recipe.read(MINIMAL, four), data=False)


def test_a_dataset_with_epochs_of_its_own_is_not_taken_for_the_usual_ones():
    """Epochs of THINGS-EEG2 end at 1 s where the recipe says nothing, others at 0.8 s."""
    change = {"dataset.name": "things_eeg2", "preprocessing": {}, "window": [0.0, 1.0]}
    check(Recipe.read(MINIMAL, change), data=False)
    with pytest.raises(PhospheneError, match="window edge 1 s lies outside the trials"):
        check(Recipe.read(MINIMAL, {**change, "dataset.name": "synthetic"}), data=False)


@pytest.mark.parametrize(
    ("change", "package", "extra"),
    [
        ({"dataset.name": "bids"}, "mne_bids", "bids"),
        ({"method.encoder": "braindecode"}, "braindecode", "braindecode"),
        ({"method": {"name": "atm", "encoder_args": {"convolution": "eegnet"}}}, "braindecode", "braindecode"),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_extra(change, package, extra, monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == package else there(name, *more)
    )
    with pytest.raises(MissingExtra, match=rf"pip install 'phosphene\[{extra}\]'"):
        check(Recipe.read(MINIMAL, change), data=False)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(small_studies.write(tmp_path / "here"))
    return Path.cwd()


def said(command: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, shlex.split(command), prog_name="phosphene", catch_exceptions=False)
    return done.exit_code, done.output


def test_the_corrected_command_goes_on_in_the_same_folder(here):
    """What only the trials tell (the samples of a stored epoch) is refused before the folder is the run's."""
    status, line = said("run lda.yaml --set method.bin_samples=21 --out out")
    assert (status, "choose 1 to 20" in line) == (2, True)
    assert not Path("out").exists()
    Path("out").mkdir()  # an empty folder is no other folder
    assert said("run lda.yaml --set method.bin_samples=4 --out out")[0] == 0


def test_check_says_that_nothing_is_wrong_and_writes_nothing(here):
    before = sorted(here.rglob("*"))
    assert said("check lda.yaml") == (0, "lda.yaml: no problems found\n")
    assert said("check lda.yaml --set method.bin_samples=0")[0] == 2
    assert said("check lda.yaml --set dataset.subject=09")[0] == 2
    assert sorted(here.rglob("*")) == before


def test_what_follows_from_lda_is_set_where_the_recipe_says_nothing(here):
    plain = {"name": "x", "dataset": {"name": "arrays", "root": "study"}, "method": {"name": "lda"}}
    recipe = Recipe.read(plain)
    assert (recipe.protocol.average_test, recipe.protocol.select_on, recipe.whitening) == (1, "last", None)
    assert recipe.notes() == [
        "lda reads single trials: protocol.average_test is 1 and protocol.select_on is last, as the recipe does not say"
    ]
    written = recipe.model_dump(mode="json")
    assert Recipe.read(written).notes() == []
    assert Recipe.read(written).model_dump(mode="json") == written
    with pytest.raises(PhospheneError, match="set protocol.average_test to 1"):
        Recipe.read(plain, {"protocol.average_test": 0})
    assert Recipe.read(plain, {"protocol.val_fraction": 0}).protocol.select_on == "val"  # as it ever was
    Path("plain.yaml").write_text(
        "name: x\ndataset: {name: arrays, root: study}\nmethod: {name: lda}\nevaluation: {n_boot: 20, n_perm: 99}\n"
    )
    assert said("run plain.yaml --out out")[0] == 0
    assert Experiment.open("out").notes[0].startswith("lda reads single trials")


def test_lda_is_refused_before_training_where_there_are_not_two_concepts(here):
    for path in ("study/table.csv", "study/stimuli.csv"):
        text = Path(path).read_text()
        Path(path).write_text(text.replace(",b1,b,", ",b1,c,").replace("pictures/b1.png,b,", "pictures/b1.png,c,"))
    status, line = said("run lda.yaml --out out")
    assert status == 2
    assert "lda tells 2 concepts apart" in line
    assert "show 3 (a, b, c): keep the trials of 2 (dataset.keep)" in line
    assert not Path("out").exists()
    status, line = said("run lda.yaml --out out --set 'dataset.keep={concept: a}'")
    assert (status, "show 1 (a)" in line) == (2, True)


def test_a_fold_without_trials_is_told_by_the_tables_alone(here, monkeypatch):
    """`prepare` makes the trials all the same: they may be there to be decoded."""
    own = Arrays.recordings
    monkeypatch.setattr(Arrays, "recordings", lambda self, subjects: pytest.fail("the EEG was read"))
    for change, told in {
        'dataset.split={session: ["01"]}': "has no trial to train or test on",
        "dataset.split={concept: nobody}": "dataset.split: no concept is 'nobody'",
        "dataset.keep={concept: a}": "show 1 (a)",
        "protocol.split=leave_one_session_out": "needs at least two sessions",
    }.items():
        for verb in ("check lda.yaml", "run lda.yaml --out out"):
            status, line = said(f"{verb} --set '{change}'")
            assert (status, told in line) == (2, True), (change, line)
    assert not Path("out").exists()
    monkeypatch.setattr(Arrays, "recordings", own)
    assert said("prepare lda.yaml --out made --set 'dataset.split={session: [\"01\"]}'")[0] == 0
