"""Captions that people write, however they save them; and captions.csv after a spreadsheet saved it."""

import pandas as pd
import pytest
from PIL import Image

from phosphene.captions import SLOTS, Captions, CaptionTable, pictures_in, read_stimuli, write
from phosphene.captions.base import LONGEST
from phosphene.captions.people import File
from phosphene.errors import PhospheneError
from phosphene.runs.preparation import _captioned

CAT, DOG = "a red; small, cat", "a dog"


@pytest.fixture
def pictures(tmp_path):
    (tmp_path / "pictures").mkdir()
    for name in ("cat", "dog"):
        Image.new("RGB", (8, 8)).save(tmp_path / "pictures" / f"{name}.png")
    return pictures_in(tmp_path / "pictures")


WRITTEN = {
    "comma.csv": f'stimulus,ObjectSnap\ncat,"{CAT}"\ndog,{DOG}\n',
    "semicolon.csv": f'stimulus;ObjectSnap\ncat;"{CAT}"\ndog;{DOG}\n',
    "tab.csv": f"stimulus\tObjectSnap\ncat\t{CAT}\ndog\t{DOG}\n",
    "tab.txt": f"stimulus\tcaption\ncat\t{CAT}\ndog\t{DOG}\n",
    "bar.tsv": f"stimulus|caption\ncat|{CAT}\ndog|{DOG}\n",
    "windows.csv": f'\ufeffstimulus , ObjectSnap\r\n\r\ncat , "{CAT}"\r\ndog, {DOG} \r\n',
    "mac.csv": f'stimulus,ObjectSnap\rcat,"{CAT}"\rdog,{DOG}\r',
    "index.csv": f',stimulus,ObjectSnap\n0,cat,"{CAT}"\n1,dog,{DOG}\n',
    "marked.json": f'\ufeff{{"cat": "{CAT}", "dog": "{DOG}"}}',
    "rows.json": f'[{{"stimulus": "cat", "ObjectSnap": "{CAT}"}}, {{"stimulus": "dog", "ObjectSnap": "{DOG}"}}]',
}


@pytest.mark.parametrize("name", WRITTEN)
def test_the_same_captions_however_they_are_written(tmp_path, pictures, name):
    (tmp_path / name).write_bytes(WRITTEN[name].encode())
    assert CaptionTable.read(tmp_path / name).table["ObjectSnap"].to_dict() == {"cat": CAT, "dog": DOG}
    made = write(File(str(tmp_path / name)), pictures, tmp_path / "out", SLOTS[:1])
    assert made.wide()["ObjectSnap"].to_dict() == {"cat": CAT, "dog": DOG}


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "a.csv",
            b"stimulus,ObjectSnap\ncat,a red, small cat\ndog,a blue, large dog\n",
            "line 2 has 3 cells and the head",
        ),
        ("a.csv", b"stimulus,ObjectSnap\ncat,a cat\ndog,a blue, large dog\n", "line 3 has 3 cells and the header 2"),
        ("a.csv", b"stimulus,ObjectSnap,ThemeTag\ncat,a,b\ndog,a\n", "line 3 has 2 cells and the header 3"),
        ("a.csv", b"stimulus,ObjectSnap\ncat,a\n,b\n", "a.csv, line 3 has no stimulus"),
        ("a.csv", b"stimulus,ObjectSnap\ncat,a\nn/a,b\n", "a.csv, line 3 has no stimulus"),
        ("a.csv", b"concept,ObjectSnap\n,a\n", "a.csv, line 2 has no concept"),
        ("a.csv", b"stimulus,ObjectSnap,ObjectSnap\ncat,a,b\n", "has two columns 'ObjectSnap'"),
        ("a.csv", b"Stimulus,ObjectSnap\ncat,a\n", "did you mean 'Stimulus'"),
        ("a.csv", "stimulus,ObjectSnap\ncat,K\xe4se\n".encode("latin1"), "is not UTF-8 text (byte 0xe4 in line 2)"),
        ("a.csv", "stimulus,ObjectSnap\ncat,a\n".encode("utf-16"), "is UTF-16 text"),
        ("a.json", '{"cat": "a"}'.encode("utf-16"), "is UTF-16 text"),
        ("a.json", b'[{"stimulus": null, "ObjectSnap": "a"}]', "row 0 (from 0) has no stimulus"),
        ("a.xlsx", b"PK\x03\x04" + bytes(9), "is a spreadsheet or an archive"),
    ],
)
def test_what_is_no_table_of_captions(tmp_path, pictures, name, data, message):
    (tmp_path / name).write_bytes(data)
    for ask in (CaptionTable.read, lambda path: File(str(path)).check(pictures, SLOTS[:1])):
        if "concept" in message and ask is not CaptionTable.read:
            continue
        with pytest.raises(PhospheneError) as error:
            ask(tmp_path / name)
        assert message in str(error.value)


def test_missing_captions_are_empty(tmp_path, pictures):
    for name, text in {
        "a.csv": "stimulus,ObjectSnap\ncat,a cat\ndog,n/a\n",
        "a.json": '{"cat": "a cat", "dog": null}',
        "b.json": '[{"stimulus": "cat", "ObjectSnap": "a cat"}, {"stimulus": "dog"}]',
    }.items():
        (tmp_path / name).write_text(text)
        assert CaptionTable.read(tmp_path / name).table["ObjectSnap"].tolist() == ["a cat", ""]
        assert File(str(tmp_path / name)).caption(pictures, SLOTS[:1]) == [{"ObjectSnap": "a cat"}, {"ObjectSnap": ""}]


def test_whole_numbers_name_stimuli(tmp_path):
    (tmp_path / "a.csv").write_text("stimulus,ObjectSnap\n1.0,a cat\n2.0,a dog\n")
    assert CaptionTable.read(tmp_path / "a.csv").table.index.tolist() == ["1", "2"]
    (tmp_path / "a.json").write_text('[{"stimulus": 1.0, "ObjectSnap": "a"}, {"stimulus": 2, "ObjectSnap": "b"}]')
    assert CaptionTable.read(tmp_path / "a.json").table.index.tolist() == ["1", "2"]


def test_stimuli_to_be_captioned(tmp_path, pictures):
    (tmp_path / "s.csv").write_text("stimulus; image\ncat; pictures/cat.png\n")
    assert read_stimuli(tmp_path / "s.csv")["image"].to_dict() == {"cat": pictures.at["cat", "image"]}
    (tmp_path / "s.csv").write_text("stimulus;image\ncat;pictures/cat.png\ndog;\n")
    with pytest.raises(PhospheneError, match=r"s.csv names no image for stimulus 'dog': fill in its cell"):
        read_stimuli(tmp_path / "s.csv")


def test_a_table_that_a_spreadsheet_saved_again(tmp_path, pictures):
    (tmp_path / "people.csv").write_bytes(WRITTEN["comma.csv"].encode())
    made = write(File(str(tmp_path / "people.csv")), pictures, tmp_path / "out", SLOTS[:1])
    table = tmp_path / "out" / "captions.csv"
    text = table.read_text()
    rows = pd.read_csv(table, dtype=str)
    rows.to_csv(table, sep=";", index=False, encoding="utf-8-sig", lineterminator="\r\n")
    pd.testing.assert_frame_equal(Captions.read(tmp_path / "out").wide(), made.wide())
    rows[:1].to_csv(table, sep=";", index=False, encoding="utf-8-sig", lineterminator="\r\n")
    write(File(str(tmp_path / "people.csv")), pictures, tmp_path / "out", SLOTS[:1])  # goes on in the table's own form
    assert [line.rsplit(",", 1)[0] for line in table.read_text().splitlines()] == [
        line.rsplit(",", 1)[0] for line in text.splitlines()
    ]
    table.write_text(text.replace(DOG, f"{DOG}, brown"))
    with pytest.raises(PhospheneError, match=r"captions.csv is damaged \(line 3 has 9 cells and the header 8"):
        Captions.read(tmp_path / "out")


def test_captions_of_more_than_600_characters_are_counted(tmp_path, pictures, caplog):
    from conftest import make_trials

    trials = make_trials(tmp_path / "more")
    said = ["x " * LONGEST, *["a thing"] * (len(trials.stimuli) - 1)]
    pd.DataFrame({"stimulus": trials.stimuli.index, "ObjectSnap": said}).to_csv(tmp_path / "p.csv", index=False)
    told = CaptionTable.read(tmp_path / "p.csv")
    assert any(
        "1 captions of" in note and "longer than 600 characters" in note
        for note in _captioned(trials, told, ["ObjectSnap"]).notes
    )
    (tmp_path / "q.csv").write_text(f"stimulus,ObjectSnap\ncat,{'x ' * LONGEST}\ndog,{'y' * LONGEST}\n")
    write(File(str(tmp_path / "q.csv")), pictures, tmp_path / "out", SLOTS[:1])
    assert [r.getMessage() for r in caplog.records if r.name.startswith("phosphene")] == [
        "1 captions are longer than 600 characters and are cut"
    ]
