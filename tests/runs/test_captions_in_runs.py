"""The recipe's key `captions`: joined to the trials, refused in one line, part of what a folder goes on by."""

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from conftest import make_trials
from phosphene.captions import SLOTS, CaptionTable, pictures_in, write
from phosphene.datasets.base import Dataset
from phosphene.errors import PhospheneError
from phosphene.registry import build
from phosphene.runs.experiment import Experiment
from phosphene.runs.preparation import prepared, slots_of
from phosphene.runs.recipe import Recipe
from phosphene.targets.clip import CLIPText
from phosphene.utils.progress import Silent

NAMES = [slot.name for slot in SLOTS]


@pytest.fixture
def stimuli(tmp_path):
    return make_trials(tmp_path / "pictures").stimuli[["concept", "image"]]


@pytest.fixture
def study(tmp_path, stimuli):
    """A stored study whose stimuli have pictures and no captions; and its recipe with two slots."""
    trials = make_trials(tmp_path / "pictures")
    replace(trials, stimuli=stimuli).save(tmp_path / "study")
    return {
        "name": "x",
        "dataset": {"name": "arrays", "root": str(tmp_path / "study")},
        "method": {"name": "semantic_prompts", "slots": ["ObjectSnap", "ThemeTag"]},
    }


def people(path, stimuli, **columns):
    table = pd.DataFrame({"stimulus": stimuli.index, **columns})
    table.to_csv(path, index=False)
    return str(path)


def test_captions_replace_columns_of_the_same_name(tmp_path, stimuli):
    path = people(tmp_path / "p.csv", stimuli, ObjectSnap=[f"a {s}\x07" for s in stimuli.index], other="no slot")
    old = stimuli.assign(ObjectSnap="old", ThemeTag="kept").sample(frac=1, random_state=0)
    joined = CaptionTable.read(path).join(old, needed=["ObjectSnap"]).loc[stimuli.index]
    assert joined["ObjectSnap"].tolist() == [f"a {s}" for s in stimuli.index]
    assert set(joined["ThemeTag"]) == {"kept"}
    assert "other" not in joined


def test_one_column_of_captions_is_the_first_slot_and_files_are_found_by_name(tmp_path, stimuli):
    pd.DataFrame({"stimulus": [f"{s}.png" for s in stimuli.index], "caption": stimuli["concept"]}).to_csv(
        tmp_path / "p.tsv", sep="\t", index=False
    )
    joined = CaptionTable.read(tmp_path / "p.tsv").join(stimuli, needed=["ObjectSnap"])
    assert (joined["ObjectSnap"] == stimuli["concept"]).all()


def test_pictures_of_a_folder_are_found_by_the_end_of_their_path(tmp_path, stimuli):
    """Data sets keep pictures in folders of their classes, and call stimuli otherwise."""
    (tmp_path / "set" / "class").mkdir(parents=True)
    for path in stimuli["image"]:
        Path(path).rename(tmp_path / "set" / "class" / Path(path).name)
    moved = stimuli.assign(image=[str(tmp_path / "set" / "class" / Path(path).name) for path in stimuli["image"]])
    said = pd.DataFrame({"stimulus": [f"class/{s}" for s in stimuli.index], "ObjectSnap": stimuli["concept"]})
    said.iloc[::-1].to_csv(tmp_path / "p.csv", index=False)
    captioner = build("captioner", "file", path=str(tmp_path / "p.csv"))
    write(captioner, pictures_in(tmp_path / "set"), tmp_path / "c", SLOTS[:1])
    joined = CaptionTable.read(tmp_path / "c").join(moved, set(moved.index), ["ObjectSnap"])
    assert (joined["ObjectSnap"] == stimuli["concept"]).all()
    same = moved.assign(image=[path.replace("class", "klass") for path in moved["image"]])
    shutil.copytree(tmp_path / "set" / "class", tmp_path / "set" / "klass")
    with pytest.raises(PhospheneError, match="'s00' has no ObjectSnap"):  # another class's picture, were it the same
        CaptionTable.read(tmp_path / "c").join(same)
    Image.new("RGB", (9, 9)).save(moved["image"].iloc[0])
    with pytest.raises(PhospheneError, match="'s00' has no ObjectSnap"):  # and not the one that was captioned
        CaptionTable.read(tmp_path / "c").join(moved)


def test_another_picture_of_the_same_name_is_not_taken_for_the_captioned_one(tmp_path):
    """A flat folder was captioned; other pictures of the study have the same names in folders of their own."""
    for folder, colour in (("test", "red"), ("train", "blue")):
        (tmp_path / folder).mkdir()
        for i in range(2):
            Image.new("RGB", (9, 9 + i), colour).save(tmp_path / folder / f"{i}.png")
    paths = [str(tmp_path / folder / f"{i}.png") for folder in ("test", "train") for i in range(2)]
    stimuli = pd.DataFrame({"concept": "x", "image": paths}, index=pd.Index(["0", "1", "x0", "x1"], name="stimulus"))
    pd.DataFrame({"stimulus": ["0", "1"], "caption": ["red", "taller"]}).to_csv(tmp_path / "p.csv", index=False)
    captioner = build("captioner", "file", path=str(tmp_path / "p.csv"))
    write(captioner, pictures_in(tmp_path / "test"), tmp_path / "c", SLOTS[:1])
    for named in (stimuli, stimuli.rename({"0": "t0", "1": "t1"})):  # found by name, and by picture
        joined = CaptionTable.read(tmp_path / "c").join(named, set(named.index[:2]))
        assert joined["ObjectSnap"].tolist() == ["red", "taller"]
        assert joined.index.tolist() == named.index[:2].tolist()
    write(captioner, stimuli[["concept"]].iloc[:2], tmp_path / "d", SLOTS[:1])  # of names alone, without a checksum
    joined = CaptionTable.read(tmp_path / "d").join(stimuli, needed=())
    assert joined["ObjectSnap"].tolist() == ["red", "taller", "", ""]


def test_a_folder_of_captions_joins_in_any_order_and_refuses_what_it_lacks(tmp_path, stimuli):
    said = stimuli.assign(ObjectSnap=[f"a thing {s}" for s in stimuli.index], KindName=[*stimuli["concept"]])
    made = write(build("captioner", "drawn"), said, tmp_path / "c", SLOTS[:2])
    told = CaptionTable.read(tmp_path / "c")
    joined = told.join(stimuli)
    assert list(joined.columns) == [*stimuli.columns, "ObjectSnap", "KindName"]
    assert joined["ObjectSnap"].to_dict() == made.wide()["ObjectSnap"].to_dict()
    shuffled = stimuli.sample(frac=1, random_state=0)
    assert (told.join(shuffled)["KindName"] == joined["KindName"].loc[shuffled.index]).all()
    assert told.join(stimuli.assign(ObjectSnap="old")).at["s00", "ObjectSnap"] == "a thing s00"
    write(build("captioner", "drawn"), said.iloc[:2], tmp_path / "part", SLOTS[:2])
    with pytest.raises(PhospheneError, match="10 in all"):
        CaptionTable.read(tmp_path / "part").join(stimuli)
    write(build("captioner", "drawn"), said.assign(ObjectSnap=["", *said["ObjectSnap"][1:]]), tmp_path / "e", SLOTS[:1])
    with pytest.raises(PhospheneError, match="'s00' has no ObjectSnap"):
        CaptionTable.read(tmp_path / "e").join(stimuli)


def test_captions_of_concepts_stand_for_their_pictures(tmp_path, stimuli):
    concepts = sorted(set(stimuli["concept"]))
    pd.DataFrame({"concept": concepts, "ThemeTag": [f"all about {c}" for c in concepts]}).to_csv(
        tmp_path / "p.csv", index=False
    )
    joined = CaptionTable.read(tmp_path / "p.csv").join(stimuli, set(stimuli.index), ["ThemeTag"])
    assert joined["ThemeTag"].tolist() == [f"all about {c}" for c in stimuli["concept"]]


def test_a_missing_caption_is_named_with_its_slot_and_fix(tmp_path, stimuli):
    told = CaptionTable.read(people(tmp_path / "p.csv", stimuli, ObjectSnap=["", *["a thing"] * (len(stimuli) - 1)]))
    with pytest.raises(PhospheneError, match=r"'s00' has no ObjectSnap in .*p\.csv .*1 in all.*method\.slots"):
        told.join(stimuli, set(stimuli.index), ["ObjectSnap"])
    with pytest.raises(PhospheneError, match=r"no stimulus has a caption MoodWord, as .*no such column.*method\.slots"):
        told.join(stimuli, set(stimuli.index), ["MoodWord"])
    assert "s00" not in told.join(stimuli, set(stimuli.index[1:]), ["ObjectSnap"]).index  # no trial shows it
    assert "s00" in told.join(stimuli, needed=()).index  # no slot is needed
    with pytest.raises(PhospheneError, match="'s00' has no ObjectSnap"):
        told.join(stimuli)


def test_changed_pictures_are_refused(tmp_path, stimuli):
    said_of = stimuli.assign(ObjectSnap="a thing")
    write(build("captioner", "drawn"), said_of, tmp_path / "c", SLOTS[:1])
    assert (CaptionTable.read(tmp_path / "c").join(stimuli, set(stimuli.index))["ObjectSnap"] == "a thing").all()
    Image.new("RGB", (9, 9)).save(stimuli["image"].iloc[3])
    with pytest.raises(PhospheneError, match="not the picture that was captioned as 's11': caption it again"):
        CaptionTable.read(tmp_path / "c").join(stimuli, set(stimuli.index))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "stimulus,ObjectSnap\ns00,x\ns00,y\n", "'s00' twice"),
        ("a.csv", "stimulus,Snap\ns00,x\n", "no column of a caption slot"),
        ("a.csv", "picture,ObjectSnap\ns00,x\n", "no column 'stimulus'"),
        ("a.json", "{", "cannot be read"),
        ("a.json", '{"s00": 3}', "not text"),
        ("a.txt", "stimulus\tObjectSnap\n", "a header and no rows"),
    ],
)
def test_unreadable_tables_are_one_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(PhospheneError, match=message) as caught:
        CaptionTable.read(tmp_path / name)
    assert "\n" not in str(caught.value)
    with pytest.raises(PhospheneError, match="not a folder of captions"):
        CaptionTable.read(tmp_path)
    with pytest.raises(PhospheneError, match="do not exist.*muse-categories"):
        CaptionTable.read(tmp_path / "nowhere.csv")


def test_prepared_trials_have_the_captions(study, stimuli, tmp_path):
    path = people(tmp_path / "p.csv", stimuli, ObjectSnap="a thing", ThemeTag=stimuli["concept"].to_numpy())
    trials, _ = prepared(Recipe.read(study, {"captions": path}), Silent())
    assert trials.stimuli.loc["s21", ["ObjectSnap", "ThemeTag"]].tolist() == ["a thing", "c2"]
    few = people(tmp_path / "few.csv", stimuli, ObjectSnap="a thing")
    with pytest.raises(PhospheneError, match="a caption ThemeTag"):
        prepared(Recipe.read(study, {"captions": few}), Silent())
    with pytest.raises(PhospheneError, match="a caption KindName"):
        prepared(Recipe.read(study, {"captions": path, "method.slots": None}), Silent())
    assert slots_of(Recipe.read(study, {"method": {"name": "nice"}})) == []
    assert slots_of(Recipe.read(study, {"method.slots": None})) == NAMES
    assert slots_of(Recipe.read(study, {"method": {"name": "synapse"}})) == ["ObjectSnap"]
    assert slots_of(Recipe.read(study, {"method": {"name": "synapse", "caption": "ThemeTag"}})) == ["ThemeTag"]


def test_a_changed_table_is_refused_like_changed_data(study, stimuli, tmp_path):
    path = people(tmp_path / "p.csv", stimuli, ObjectSnap="a thing", ThemeTag="a theme")
    experiment = Experiment(Recipe.read(study, {"captions": path}), tmp_path / "run")
    experiment.prepare()
    experiment._same_data()
    people(path, stimuli, ObjectSnap="a thing", ThemeTag="another theme")
    with pytest.raises(PhospheneError, match=r"captions .*p\.csv have changed since"):
        experiment.run()
    (tmp_path / "p.csv").unlink()
    experiment._same_data()  # the trials hold what was said


def test_a_recipe_with_captions_is_written_and_read_again(study):
    written = Recipe.read(study, {"captions": "c"}).model_dump(mode="json")
    assert Recipe.read(written).captions == "c"


@pytest.mark.parametrize("gap", [None, float("nan"), "", "n/a", " "])
def test_missing_captions_of_the_stimulus_table_are_told(tmp_path, study, stimuli, gap):
    trials = make_trials(tmp_path / "pictures")
    said = stimuli.assign(ObjectSnap="a thing", ThemeTag=["a theme"] * (len(stimuli) - 1) + [gap])
    table = pd.concat([said, said[-1:].rename({said.index[-1]: "unseen"})])
    replace(trials, stimuli=table[:-1]).save(tmp_path / "study")
    with pytest.raises(PhospheneError, match=f"stimulus '{said.index[-1]}' has no ThemeTag in the stimulus table"):
        prepared(Recipe.read(study), Silent())
    said = said.assign(ThemeTag="a theme")
    replace(trials, stimuli=pd.concat([said, table[-1:]])).save(tmp_path / "study")
    ready, _ = prepared(Recipe.read(study), Silent())
    assert ready.stimuli.index.tolist() == said.index.tolist()
    assert any("1 stimuli that no trial shows have no captions" in note for note in ready.notes)


def test_a_missing_caption_is_no_word(stimuli):
    table = stimuli.assign(ObjectSnap=["a thing"] * (len(stimuli) - 1) + [None])
    with pytest.raises(PhospheneError, match=rf"stimulus '{stimuli.index[-1]}' has no ObjectSnap \(1 such\): write it"):
        CLIPText("ObjectSnap").content(table)


def test_a_slot_without_a_column_is_refused_before_the_eeg_is_read(study, stimuli, tmp_path, monkeypatch):
    monkeypatch.setattr(Dataset, "load", lambda *given: pytest.fail("the EEG was read"))
    path = people(tmp_path / "p.csv", stimuli, ObjectSnap="a thing")
    for changes, lost in (({}, "ObjectSnap"), ({"captions": path}, "ThemeTag")):
        with pytest.raises(PhospheneError, match=f"no stimulus has a caption {lost}"):
            Experiment(Recipe.read(study, changes), tmp_path / "run").run()
    assert not (tmp_path / "run").exists()
