"""Quality control: planted faults are found, sound captions are left alone."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import phosphene.captions
from phosphene.captions import SLOTS, check, contradictions, lines, pictures_in, write
from phosphene.captions.quality import token_f1
from phosphene.cli import app
from phosphene.errors import PhospheneError
from phosphene.evaluation.metrics.cider import cider
from phosphene.registry import build
from phosphene.simulate.scenes import COLOURS, KINDS, OBJECTS, sample_scenes
from phosphene.targets.clip import CLIPText
from phosphene.utils.files import parse_yaml

PHOTOS = Path(__file__).parents[2].parent / "shared" / "data" / "photos-with-captions"
NUMBER = ("two", "three", "four")


def plant(scene, rng):
    """(what, captions of the scene with one slot contradicting another), as a careless captioner would write them."""
    said = dict(scene.captions)
    what = str(rng.choice(["colour", "count", "object", "kind", "side", "time"]))
    if what == "colour":
        slot = str(rng.choice(["ObjectSnap", "ColourNote", "SpatialLink"]))
        taken = {scene.colour, *scene.companion.split()[:1]}
        said[slot] = replace(scene, colour=str(rng.choice([c for c in COLOURS if c not in taken]))).captions[slot]
    elif what == "count":
        said["SpatialLink"] = str(rng.choice(NUMBER)) + said["SpatialLink"].split(" ", 1)[1].join((" ", ""))
        said["SpatialLink"] = said["SpatialLink"].replace(scene.object, scene.object + "s", 1)
    elif what == "object":
        other = str(rng.choice([o for o in OBJECTS if o not in (scene.object, scene.companion.split()[-1])]))
        said["SpatialLink"] = replace(scene, object=other).captions["SpatialLink"]
    elif what == "kind":
        said["KindName"] = str(rng.choice(sorted({k for k in KINDS.values() if k != KINDS[scene.object]})))
    elif what == "side":
        other = {"left": "right", "right": "left", "centre": "left"}[scene.position]
        said["LayoutPlan"] = replace(scene, position=other).captions["LayoutPlan"]
    else:
        other = "day" if scene.light == "night" else "night"
        said["LightHour"] = replace(scene, light=other).captions["LightHour"]
    return what, said


def planted(n):
    """Counts of (what was planted, rule that spoke or "") over ``n`` scenes with one contradiction, ``n`` without."""
    rng, counts = np.random.default_rng(0), Counter()
    for i, scene in enumerate(sample_scenes(2 * n, seed=3, objects=OBJECTS)):
        what, said = plant(scene, rng) if i % 2 else ("nothing", scene.captions)
        counts.update((what, rule) for rule in {c.rule for c in contradictions(said, SLOTS)} or {""})
    return counts


def test_planted_contradictions_are_found_and_nothing_else():
    counts = planted(1000)
    spoken = {(what, rule) for what, rule in counts if rule}
    assert spoken == {(w, {"kind": "object"}.get(w, w)) for w in ("colour", "count", "object", "kind", "side", "time")}
    missed = {what: n for (what, rule), n in counts.items() if not rule}
    found = {what: n / (n + missed.get(what, 0)) for (what, rule), n in counts.items() if rule}
    assert found["colour"] > 0.95
    assert found["count"] > 0.95
    assert found["object"] > 0.9
    assert found["kind"] > 0.5  # "something to wear" and "a thing of the house" are no names of kinds
    assert found["side"] > 0.4  # a companion on the other side hides it
    assert found["time"] > 0.1  # only "night" and "moon" against "day"


def test_the_words_are_words():
    words = parse_yaml((Path(phosphene.captions.__file__).parent / "words.yaml").read_text())
    for key in ("generic", "adjectives", "stops"):
        assert all(isinstance(word, str) for word in words[key]), key  # YAML takes a bare "on" for true
    for key in ("colours", "sides", "times", "kinds"):
        assert all(isinstance(w, str) for name, some in words[key].items() for w in (name, *some)), key


SOUND = [
    {
        "ObjectSnap": "an orange tabby cat",
        "KindName": "an animal",
        "ColourNote": "something orange and white",
        "SurfaceNote": "a thing of soft fur",
        "SpatialLink": "a cat on blue steps, left of a green plant",
        "PlaceView": "outdoors on blue stone steps with a brown wall behind",
        "LightHour": "soft daylight",
        "ThemeTag": "a pet on a sunny day",
    },
    {
        "ObjectSnap": "a black-and-white dog",
        "KindName": "a pet",
        "ColourNote": "a black and white thing",
        "SpatialLink": "a puppy sitting in the centre, on green grass, beside two red balls",
        "LayoutPlan": "a black thing in the middle and two small red things on the right",
    },
    {"ObjectSnap": "a cup of coffee", "ColourNote": "something white", "SpatialLink": "a white cup on a brown table"},
    {
        "ObjectSnap": "an orange",
        "KindName": "a fruit",
        "ColourNote": "something orange",
        "SpatialLink": "an orange in the middle of a blue plate",
    },
    {"ObjectSnap": "a glass of orange juice", "ColourNote": "something yellow", "SpatialLink": "a glass of juice"},
    {"ObjectSnap": "two brown horses", "KindName": "animals", "SpatialLink": "a pair of horses behind one white fence"},
    {
        "ObjectSnap": "a man riding a red bicycle",
        "KindName": "a person",
        "ColourNote": "something dark",
        "SpatialLink": "a rider on a bike in the left half, with the street empty on the right",
        "LayoutPlan": "a thing on the left, nothing on the right",
    },
]
FALSE = [
    ({"ObjectSnap": "a red car", "ColourNote": "something blue"}, "colour"),
    ({"ObjectSnap": "a grey kitten", "SpatialLink": "a brown cat on a white rug"}, "colour"),
    ({"ObjectSnap": "two dogs", "SpatialLink": "three dogs on a lawn"}, "count"),
    ({"ObjectSnap": "a dog with a ball", "KindName": "a vehicle"}, "object"),
    ({"ObjectSnap": "a cat", "SpatialLink": "a dog on the left, beside a tree"}, "object"),
    ({"SpatialLink": "a cat on the left", "LayoutPlan": "a large thing on the right"}, "side"),
    ({"ThemeTag": "a sunny day in town", "LightHour": "moonlight"}, "time"),
]


@pytest.mark.parametrize("said", SOUND, ids=lambda said: said["ObjectSnap"])
def test_sound_captions_of_photographs_are_left_alone(said):
    assert contradictions(said, SLOTS) == []


@pytest.mark.parametrize(("said", "rule"), FALSE)
def test_each_rule_speaks(said, rule):
    assert [c.rule for c in contradictions(said, SLOTS)] == [rule]


def table(tmp_path, rows, slots=SLOTS[:3]):
    stimuli = pd.DataFrame(rows, columns=[s.name for s in slots], index=[f"s{i}" for i in range(len(rows))])
    return write(build("captioner", "drawn"), stimuli, tmp_path / "c", slots)


def test_every_fault_of_a_caption_is_a_row(tmp_path):
    long, over = "a red car " * 30, "a red car of a kind that was made for races in the hills by a lot of old friends"
    made = table(
        tmp_path,
        [
            ("a red car", "a vehicle", "something blue"),
            ("The red car!", "A red car", ""),
            (long, over, "something red"),
            ("a red car", "a vehicle", "something red"),
        ],
    )
    found = check(made)
    faults = {(r.check, r.stimulus, r.slot, r.other) for r in found.itertuples() if r.check != "shared"}
    assert faults == {
        ("contradiction", "s0", "ObjectSnap", "ColourNote"),
        ("same_in_picture", "s1", "KindName", "ObjectSnap"),
        ("empty", "s1", "ColourNote", ""),
        ("too_long", "s2", "ObjectSnap", ""),
        ("too_long", "s2", "KindName", ""),
    }
    details = found.set_index(["check", "stimulus", "slot"])["detail"]
    assert "CLIP cuts it" in details["too_long", "s2", "ObjectSnap"]
    assert "over the slot's 16" in details["too_long", "s2", "KindName"]
    shared = found[found["check"] == "shared"].set_index("slot")["value"]
    assert shared.to_dict() == {"ObjectSnap": 0.5, "KindName": 0.5, "ColourNote": 2 / 3}
    assert lines(found)[0] == "empty: 1, such as s1: ColourNote says nothing"
    assert set(check(made, count=lambda caption: 3)["check"]) == {"contradiction", "same_in_picture", "empty", "shared"}


def test_agreement_stands_beside_the_next_pictures(tmp_path):
    said = [("a red car",), ("two dogs on grass",), ("a blue boat",)]
    made = table(tmp_path, said, SLOTS[:1])
    human = pd.DataFrame(
        {"caption": ["a red car", "a fast car", "dogs", "a blue boat", "x"]},
        index=["s0", "s0", "s1", "s2", "elsewhere"],
    )
    clip = CLIPText(backbone="mini")
    figures = check(made, human, cider=cider, embed=clip.texts).set_index("check").drop("shared")
    assert figures.loc["token_f1", "value"] == pytest.approx((1 + 0.4 + 1) / 3)
    assert figures.loc["token_f1", "chance"] == pytest.approx((0 + 0 + 1 / 3) / 3)
    expected = cider([c for (c,) in said], [["a red car", "a fast car"], ["dogs"], ["a blue boat"]])
    assert figures.loc["cider", "value"] == pytest.approx(np.mean(np.diag(expected)))
    assert figures.loc["cider", "chance"] == pytest.approx((expected[0, 1] + expected[1, 2] + expected[2, 0]) / 3)
    assert figures.loc["clip", "value"] > figures.loc["clip", "chance"]
    exact = check(made, made.wide(), cider=cider, embed=clip.texts).set_index("check").drop("shared")
    assert exact.loc[["token_f1", "clip"], "value"].tolist() == pytest.approx([1, 1])
    with pytest.raises(PhospheneError, match="cover neither 's0'"):
        check(made, human.loc[["elsewhere"]])
    with pytest.raises(PhospheneError, match="did you mean"):
        check(made, human.rename(columns={"caption": "ObjektSnap"}))


def test_token_f1_is_the_formula():
    assert token_f1("a red car", "A red, red CAR") == pytest.approx(2 * 3 / 7)
    assert token_f1("", "a") == 0


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the photographs with captions are not here")
def test_photographs_with_human_captions(tmp_path):
    for folder in ("skimage", "cats_dogs"):
        said = json.loads((PHOTOS / "captions.json").read_text())[folder]["captions"]
        file = tmp_path / f"{folder}.json"
        file.write_text(json.dumps(said))
        out = tmp_path / folder
        command = [
            "caption",
            "--images",
            str(PHOTOS / folder),
            "--by",
            "file",
            "--set",
            f"path={file}",
            "--slot",
            "ObjectSnap",
            "--out",
            str(out),
        ]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
        people = {Path(name).stem: caption for name, caption in said.items()}
        file.write_text(json.dumps(people))
        looked = CliRunner().invoke(app, ["caption", "--check", str(out), "--human", str(file), "--backbone", "mini"])
        assert looked.exit_code == 0, looked.output
        assert "token_f1 ObjectSnap: 1.000" in looked.output
        found = pd.read_csv(out / "checks.csv")
        assert set(found["check"]) == {"shared", "token_f1", "cider", "clip"}
        assert len(pictures_in(PHOTOS / folder)) == len(said)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to caption: give --images FOLDER or --stimuli TABLE"),
        (["--images", "x", "--stimuli", "y"], "nothing to caption: give --images FOLDER or --stimuli TABLE"),
        (["--images", "x"], "captioner or folder missing"),
        (["--check", "x"], "not a folder of captions"),
        (["--images", "nowhere", "--by", "drawn", "--out", "x"], "is not a folder"),
    ],
)
def test_wrong_commands_are_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["caption", *arguments])
    assert done.exit_code == 2
    assert message in done.output
