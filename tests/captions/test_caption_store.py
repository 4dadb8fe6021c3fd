"""The caption table: resumable, checked, joined to stimuli."""

import json
from datetime import UTC, datetime

import pandas as pd
import pytest
from PIL import Image

from phosphene.captions import SLOTS, Captioner, Captions, pictures_in, read_stimuli, write
from phosphene.errors import PhospheneError
from phosphene.registry import build
from phosphene.simulate.scenes import draw, sample_scenes

TWO = SLOTS[:2]


def noon():
    return datetime(2026, 1, 2, 12, tzinfo=UTC)


class Counting(Captioner):
    """Says the picture's size; breaks at a chosen stimulus."""

    batch_size = 2

    def __init__(self, breaks_at=""):
        self.breaks_at, self.asked = breaks_at, []

    def identity(self):
        return "counting"

    def caption(self, stimuli, slots):
        if self.breaks_at in stimuli.index:
            raise KeyboardInterrupt
        self.asked += list(stimuli.index)
        return super().caption(stimuli, slots)

    def say(self, images, slots):
        return [{slot.name: f"a {slot.name} of {im.width}\x07\npixels" for slot in slots} for im in images]


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(5):
        Image.new("RGB", (10 + i, 8), (40 * i, 0, 0)).save(folder / f"p{i}.png")
    return pictures_in(folder)


def test_the_table_holds_who_what_and_when(pictures, tmp_path):
    made = write(Counting(), pictures, tmp_path / "c", TWO, now=noon)
    assert list(made.rows.columns) == [
        "stimulus",
        "slot",
        "level",
        "caption",
        "model",
        "prompt_sha",
        "picture_sha",
        "date",
    ]
    row = made.rows.iloc[0]
    assert row["caption"] == "a ObjectSnap of 10 pixels"
    assert (row["model"], row["date"]) == ("counting", "2026-01-02T12:00:00+00:00")
    assert row["prompt_sha"] == TWO[0].checksum
    assert made.rows["picture_sha"].nunique() == 5
    assert made.slots == TWO
    assert json.loads((tmp_path / "c" / "captions.json").read_text())["slots"][0]["prompt"] == TWO[0].prompt
    wide = Captions.read(tmp_path / "c").wide()
    assert wide.shape == (5, 2)
    assert wide.at["p4", "KindName"] == "a KindName of 14 pixels"


def test_a_killed_job_goes_on_and_asks_once(pictures, tmp_path):
    broken, again = Counting("p2"), Counting()
    with pytest.raises(KeyboardInterrupt):
        write(broken, pictures, tmp_path / "c", TWO, now=noon)
    ticks = []
    write(again, pictures, tmp_path / "c", TWO, now=noon, tick=ticks.append)
    assert (broken.asked, again.asked) == (["p0", "p1"], ["p2", "p3", "p4"])
    assert ticks == [2, 2, 1]
    write(Counting(), pictures, tmp_path / "whole", TWO, now=noon)
    assert (tmp_path / "c" / "captions.csv").read_bytes() == (tmp_path / "whole" / "captions.csv").read_bytes()
    third = Counting()
    write(third, pictures, tmp_path / "c", TWO, now=noon)
    assert third.asked == []


def test_every_torn_end_is_mended(pictures, tmp_path):
    write(Counting(), pictures, tmp_path / "c", TWO, now=noon)
    table = tmp_path / "c" / "captions.csv"
    text = table.read_bytes()
    header = text.index(b"\n") + 1
    for cut in range(header, len(text), 37):
        table.write_bytes(text[:cut])
        again = Counting()
        write(again, pictures, tmp_path / "c", TWO, now=noon)
        assert table.read_bytes() == text
        assert set(again.asked).isdisjoint(line.split(b",")[0].decode() for line in text[:cut].split(b"\n")[2:-1:2])


def test_pictures_without_any_caption_are_asked_again(pictures, tmp_path):
    write(Counting(), pictures, tmp_path / "c", TWO, now=noon)
    table = tmp_path / "c" / "captions.csv"
    table.write_text(table.read_text().replace("a ObjectSnap of 11 pixels", "").replace("a KindName of 11 pixels", ""))
    again = Counting()
    write(again, pictures, tmp_path / "c", TWO, now=noon)
    assert again.asked == ["p1"]


def test_new_pictures_are_added_and_changed_ones_refused(pictures, tmp_path):
    write(Counting(), pictures.iloc[:3], tmp_path / "c", TWO, now=noon)
    more = Counting()
    assert len(write(more, pictures, tmp_path / "c", TWO, now=noon).wide()) == 5
    assert more.asked == ["p3", "p4"]
    Image.new("RGB", (10, 9)).save(pictures.at["p1", "image"])
    with pytest.raises(PhospheneError, match="picture of 'p1' changed"):
        write(Counting(), pictures, tmp_path / "c", TWO)


def test_other_prompts_slots_and_models_are_refused(pictures, tmp_path):
    write(Counting(), pictures, tmp_path / "c", TWO, now=noon)
    with pytest.raises(PhospheneError, match="prompt of slot 'ObjectSnap' changed"):
        write(Counting(), pictures, tmp_path / "c", (TWO[0]._replace(prompt="Other."), TWO[1]))
    with pytest.raises(PhospheneError, match="other slots"):
        write(Counting(), pictures, tmp_path / "c", SLOTS)
    with pytest.raises(PhospheneError, match="by counting, not drawn"):
        write(
            build("captioner", "drawn"),
            pictures.assign(**dict.fromkeys(("ObjectSnap", "KindName"), "x")),
            tmp_path / "c",
            TWO,
        )
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(PhospheneError, match="choose another --out"):
        write(Counting(), pictures, tmp_path / "full", TWO)


def test_damaged_tables_are_one_line(pictures, tmp_path):
    with pytest.raises(PhospheneError, match="not a folder of captions"):
        Captions.read(tmp_path)
    write(Counting(), pictures, tmp_path / "c", TWO, now=noon)
    table = tmp_path / "c" / "captions.csv"
    text = table.read_text()
    for damage, message in (
        (text.replace("stimulus,slot", "slot,stimulus"), "damaged"),
        (text + "p9,ObjectSnap\n", "damaged"),
        (text + '"p9\n', "damaged"),
        (text + text.splitlines()[1] + "\n", "twice"),
        (text.replace("p1,ObjectSnap", "p1,Sound"), "unknown slot 'Sound'"),
    ):
        table.write_text(damage)
        with pytest.raises(PhospheneError, match=message):
            Captions.read(tmp_path / "c")


def test_drawn_scenes_are_captioned_exactly(tmp_path):
    scenes = sample_scenes(4, seed=0)
    rows = []
    for i, scene in enumerate(scenes):
        draw(scene, 32).save(tmp_path / f"{i}.png")
        rows.append({"stimulus": f"s{i}", "image": f"{i}.png", **scene.captions})
    pd.DataFrame(rows).to_csv(tmp_path / "stimuli.csv", index=False)
    stimuli = read_stimuli(tmp_path / "stimuli.csv")
    wide = write(build("captioner", "drawn"), stimuli, tmp_path / "c").wide()
    assert [dict(row) for _, row in wide.iterrows()] == [scene.captions for scene in scenes]
    with pytest.raises(PhospheneError, match="no column 'ObjectSnap'"):
        write(build("captioner", "drawn"), stimuli[["image"]], tmp_path / "d")


@pytest.mark.parametrize("suffix", ["csv", "tsv", "json"])
def test_files_that_people_wrote(pictures, tmp_path, suffix):
    said = {f"p{i}": {"ObjectSnap": f"a thing, {i}", "KindName": "None"} for i in range(5)}
    table = pd.DataFrame.from_dict(said, orient="index").rename_axis("stimulus").reset_index()
    table.loc[4, "stimulus"] = "p4.png"  # people write the file's name
    file = tmp_path / f"people.{suffix}"
    if suffix == "json":
        file.write_text(table.to_json(orient="records"))
    else:
        table.to_csv(file, sep="\t" if suffix == "tsv" else ",", index=False)
    wide = write(build("captioner", "file", path=str(file)), pictures, tmp_path / "c", TWO).wide()
    assert [dict(row) for _, row in wide.iterrows()] == list(said.values())


def test_one_column_of_captions_fills_one_slot(pictures, tmp_path):
    file = tmp_path / "people.json"
    file.write_text(json.dumps({f"p{i}": f"a thing {i}" for i in range(5)}))
    captioner = build("captioner", "file", path=str(file))
    assert write(captioner, pictures, tmp_path / "c", SLOTS[:1]).wide().at["p3", "ObjectSnap"] == "a thing 3"
    with pytest.raises(PhospheneError, match="--slot"):
        write(captioner, pictures, tmp_path / "d", TWO)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "stimulus,ObjectSnap\np0,x\np0,y\n", "twice"),
        ("a.csv", "stimulus,ObjectSnap\np0,x\n", "no caption of stimulus 'p1'.*4 in all"),
        ("a.csv", "stimulus,ObjectSnp\np0,x\n", "did you mean 'ObjectSnp'"),
        ("a.csv", "picture,ObjectSnap\np0,x\n", "no column 'stimulus'"),
        ("a.csv", "", "a.csv is empty"),
        ("a.json", "{", "cannot be read"),
        ("a.json", "3", "cannot be read"),
        ("a.json", "[" * 100_000, "cannot be read"),
        ("a.txt", "stimulus\tObjectSnap\n", "a header and no rows"),
        ("a.json", '{"p0": 3, "p1": "", "p2": "", "p3": "", "p4": ""}', "not text"),
    ],
)
def test_wrong_files_are_one_line(pictures, tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(PhospheneError, match=message):
        write(build("captioner", "file", path=str(tmp_path / name)), pictures, tmp_path / "c", SLOTS[:1])


def test_wrong_pictures_are_one_line(tmp_path):
    with pytest.raises(PhospheneError, match="no picture"):
        pictures_in(tmp_path)
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(PhospheneError, match="cannot be read"):
        write(Counting(), pictures_in(tmp_path), tmp_path / "c", TWO)
    with pytest.raises(PhospheneError, match="missing"):
        write(Counting(), pd.DataFrame({"image": [str(tmp_path / "b.png")]}, index=["b"]), tmp_path / "d", TWO)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg")
    with pytest.raises(PhospheneError, match="two pictures called 'a'"):
        pictures_in(tmp_path)
