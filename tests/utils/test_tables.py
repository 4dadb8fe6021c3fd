"""Tables that people write: what is read of a file, what is refused and where; labels, numbers and gaps."""

import csv
import io
import os
import string
from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phosphene.errors import PhospheneError
from phosphene.utils.tables import (
    asked,
    check_filled,
    check_spelling,
    completed,
    doubts,
    frame,
    labels,
    numbers,
    parse,
    read_cells,
)

ROWS = [["a b", "1"], ["Käse", "2"]]


@pytest.mark.parametrize(
    "text",
    [
        "stimulus,session\na b,1\nKäse,2\n",
        "stimulus,session\na b,1\nKäse,2",
        "stimulus;session\na b;1\nKäse;2\n",
        "stimulus\tsession\na b\t1\nKäse\t2\n",
        "stimulus|session\na b|1\nKäse|2\n",
        'stimulus session\n"a b"   1\nKäse 2 \n',
        "stimulus,session\r\na b,1\r\nKäse,2\r\n",
        "stimulus,session\ra b,1\rKäse,2\r",
        "\ufeffstimulus,session\na b,1\nKäse,2\n",
        "\ufeff\ufeffstimulus,session\na b,1\nKäse,2\n",
        ' stimulus ,\tsession\n a b , 1\n  "Käse", 2 \n',
        '"stimulus","session"\n"a b","1"\n"Käse","2"\n',
        "stimulus,session\n\na b,1\n  \nKäse,2\n\n,\n",
        "stimulus,session,\na b,1,\nKäse,2,\n",
        "stimulus,session,,\na b,1\nKäse,2\n",
        "stimulus,session\na b,1,,\nKäse,2\n",
        "sep=;\nstimulus;session\na b;1\nKäse;2\n",
        ",stimulus,session\n0,a b,1\n1,Käse,2\n",
        '"","stimulus","session"\n"1","a b","1"\n"7","Käse","2"\n',
        "stimulus\u00a0,session\na b\u00a0,1\nKäse,2\n",
    ],
)
@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.txt"])
def test_the_same_table_however_it_is_written(tmp_path, text, name):
    (tmp_path / name).write_bytes(text.encode())
    table = read_cells(tmp_path / name)
    assert list(table) == ["stimulus", "session"]
    assert table.to_numpy().tolist() == ROWS


@pytest.mark.parametrize(
    ("text", "columns", "rows"),
    [
        ("stimulus;caption\ncat;a red, small cat\ndog;a dog\n", ["stimulus", "caption"], ["cat", "a red, small cat"]),
        ("stimulus;in, words\ncat;a red, small cat\n", ["stimulus", "in, words"], ["cat", "a red, small cat"]),
        ("stimulus,caption;en\ncat,a cat\n", ["stimulus", "caption;en"], ["cat", "a cat"]),
        ('stimulus,caption\ncat,"a ""red"" cat,\na dog"\n', ["stimulus", "caption"], ["cat", 'a "red" cat,\na dog']),
        ("stimulus,caption\ncat,\n", ["stimulus", "caption"], ["cat", ""]),
        ('stimulus,caption\ncat,a 5" disc\n', ["stimulus", "caption"], ["cat", 'a 5" disc']),
        ("stimulus\na red cat\n", ["stimulus"], ["a red cat"]),
        ("the name\na red cat\n", ["the name"], ["a red cat"]),
        ("onset stimulus\n1 s0\n", ["onset", "stimulus"], ["1", "s0"]),
    ],
)
def test_no_cell_shifts(text, columns, rows):
    table = parse(text, "t.csv")
    assert list(table) == columns
    assert table.iloc[0].tolist() == rows


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"stimulus,caption\ncat,a red, small cat\n", "line 2 has 3 cells and the header 2: put quotes around"),
        (b"a,b\n1,2\n\n3,4,5\n6,7\n", "line 4 has 3 cells and the header 2"),
        (b"a;b\n1;2;3\n", "holds a semicolon"),
        (b"a,b,c\n1,2,3\n4,5\n", "line 3 has 2 cells and the header 3: fill in what is missing"),
        (b'a,b\n"x\ny",1\nz\n', "line 4 has 1 cell and the header 2"),
        (b"onset;stimulus\n1,0;s0\n2;s1;x\n", "line 3 has 3 cells and the header 2"),
        (b'a,b\n"1,2\n3,4\n', "line 2 cannot be read as a row (unexpected end of data): check its quotes"),
        (b'a,b\n"big" cat,1\n', "line 2 cannot be read as a row"),
        (b"a,b\n" + b"x" * 200_000 + b",1\n", "line 2 cannot be read as a row (field larger than field limit"),
        (b"stimulus,session,stimulus\na,1,b\n", "has two columns 'stimulus': rename one"),
        (b"stimulus, session,session\na,1,b\n", "has two columns 'session': rename one"),
        (b"stimulus,,session\na,1,b\n", "column 2 has no name: write one into the header"),
        (b",session\ncat,1\n", "column 1 has no name"),
        (b"stimulus,session\n", "has a header and no rows"),
        (b"", "is empty: write a header"),
        (b"\n \n\n", "is empty: write a header"),
        (b";;;\n", "is empty: write a header"),
        ("stimulus\nKäse\n".encode("latin1"), "is not UTF-8 text (byte 0xe4 in line 2): save it as UTF-8"),
        ("stimulus\ncat\n".encode("utf-16"), "is UTF-16 text: save it as UTF-8"),
        ("stimulus\ncat\n".encode("utf-16-le"), "holds NUL bytes"),
        ("stimulus\ncat\n".encode("utf-32"), "is UTF-16 text: save it as UTF-8"),
        (b"stimulus\nc\0t\n", "holds NUL bytes"),
        (b"PK\x03\x04" + bytes(20), "is a spreadsheet or an archive"),
    ],
)
def test_what_is_no_table_is_one_line(tmp_path, data, message):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(PhospheneError) as error:
        read_cells(tmp_path / "t.csv")
    assert message in str(error.value)
    assert "t.csv" in str(error.value)


def test_what_is_no_file_is_one_line(tmp_path):
    with pytest.raises(PhospheneError, match=r"none.csv is missing: check the path"):
        read_cells(tmp_path / "none.csv")
    with pytest.raises(PhospheneError, match="not a regular file"):
        read_cells(tmp_path)
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(PhospheneError, match="not a regular file"):
        read_cells(tmp_path / "pipe.csv")
    with (tmp_path / "huge.csv").open("wb") as file:
        file.truncate((1 << 28) + 1)
    with pytest.raises(PhospheneError, match="larger than 256 MiB"):
        read_cells(tmp_path / "huge.csv")


def test_a_header_alone_where_it_will_do():
    assert list(parse("onset\tstimulus\n", "events.tsv", empty=True)) == ["onset", "stimulus"]


CELL = st.text(string.ascii_letters + string.digits + " ,;|\"'\n.äß猫", max_size=6).map(str.strip)


@given(
    rows=st.lists(st.tuples(st.text(string.ascii_letters, min_size=1, max_size=4), CELL, CELL), min_size=1, max_size=5),
    sep=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_what_the_csv_module_writes_is_read_as_it_was(rows, sep, end):
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=sep, lineterminator=end).writerows([("stimulus", "ObjectSnap", "k"), *rows])
    assert parse(text.getvalue(), "t").to_numpy().tolist() == [list(row) for row in rows]


# -- labels ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([1, 2], ["1", "2"]),
        ([1.0, np.nan, 3.0], ["1", "", "3"]),
        ([1.5, 2.0], ["1.5", "2"]),
        (["1.0", "01", " 1 ", "1.50"], ["1", "01", "1", "1.50"]),
        (["a", None, np.nan, pd.NA, pd.NaT, "", " "], ["a", "", "", "", "", "", ""]),
        (["n/a", "N/A", "NaN", "#N/A", "NULL", "<NA>"], [""] * 6),
        (["nan", "None", "NA", "null", "none", "-"], ["nan", "None", "NA", "null", "none", "-"]),
        (pd.Categorical(["b", None, "a"]), ["b", "", "a"]),
        (pd.Categorical([2.0, 1.0, None]), ["2", "1", ""]),
        (pd.array([1, None], dtype="Int64"), ["1", ""]),
        (pd.array([1.0, None], dtype="Float64"), ["1", ""]),
        (pd.array([True, None], dtype="boolean"), ["True", ""]),
        (pd.array(["a", None], dtype="string"), ["a", ""]),
        (pd.to_datetime(["2026-01-05", None]), ["2026-01-05", ""]),
        (pd.to_datetime(["2026-01-05 10:00"]), ["2026-01-05 10:00:00"]),
        ([date(2026, 1, 5)], ["2026-01-05"]),
        ([b"cat", np.str_("dog"), np.int8(3), np.float32(4)], ["cat", "dog", "3", "4"]),
        (np.array([-0.5, -2.0], np.float32), ["-0.5", "-2"]),
        ([1, "1", 1.0, "x"], ["1", "1", "1", "x"]),
    ],
)
def test_labels_mean_what_a_person_expects(values, found):
    assert labels(pd.Series(values)).tolist() == found


def test_values_that_are_asked_for_are_labels_too():
    assert asked("a") == ["a"]
    assert asked(1.0) == asked(1) == asked("1") == asked(["1.0"]) == ["1"]
    assert asked(np.array([1.0, 2.5])) == ["1", "2.5"]
    assert asked(range(2)) == ["0", "1"]
    assert asked((None, True)) == ["", "True"]


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (["1", "2.5", "-3", " 4 ", "1e-3"], [1, 2.5, -3, 4, 0.001]),
        ([1, 2], [1, 2]),
        (pd.array([1, None], dtype="Int64"), [1, np.nan]),
        (["1", "", "n/a", "nan", "NaN", "NA", "None", "null"], [1] + [np.nan] * 7),
        ([None, 2.0], [np.nan, 2]),
    ],
)
def test_numbers_and_their_gaps(cells, found):
    values = numbers(pd.DataFrame({"onset": cells}), "onset", "t", gaps=True)
    np.testing.assert_array_equal(values, found)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["1", "1,5"], "row 1 (from 0): onset '1,5' is not a number: write it with a decimal point"),
        (["1.234,5"], "'1.234,5' is not a number: write it with a decimal point, and no separator of thousands"),
        (["1,234.5"], "no separator of thousands"),
        (["-0,2"], "'-0,2' is not a number: write it with a decimal point"),
        (["soon"], "'soon' is not a number: correct it"),
        (["1", "inf"], "'inf' is not a number"),
        (["12:03:11"], "'12:03:11' is not a number"),
        ([True], "'True' is not a number"),
        (pd.to_datetime(["2026-01-05"]), "'2026-01-05' is not a number"),
        (pd.to_timedelta(["1 s"]), "is not a number"),
        (["1", ""], "t, row 1 (from 0) has no onset: fill it in"),
        ([1.0, None], "row 1 (from 0) has no onset"),
        (["nan"], "row 0 (from 0) has no onset"),
    ],
)
def test_what_is_no_number_is_told_with_its_row(cells, message):
    with pytest.raises(PhospheneError) as error:
        numbers(pd.DataFrame({"onset": cells}), "onset", "t")
    assert message in str(error.value)


def test_rows_are_named_by_the_line_of_the_file():
    table = parse('stimulus,onset\n"a\nb",1\n\nc,x\n', "t.csv")
    with pytest.raises(PhospheneError, match="t.csv, line 5: onset 'x'"):
        numbers(table, "onset", "t.csv")
    with pytest.raises(PhospheneError, match=r"t.csv, line 2 has no session \(2 such rows\)"):
        check_filled(table.assign(session=""), ["session"], "t.csv")


def test_a_column_without_any_label_is_absent():
    table = pd.DataFrame({"session": [None, None], "run": [1.0, None]})
    done = completed(table, session="01", run="01", block="07")
    assert done["session"].tolist() == ["01", "01"]
    assert done["run"].tolist() == ["1", ""]
    assert done["block"].tolist() == ["07", "07"]


# -- in memory ---------------------------------------------------------------------------------------------------------


def test_tables_in_memory():
    rows = [{"stimulus": "a", " session": 1}, {"stimulus": "b"}]
    table = frame(rows, "table")
    assert list(table) == ["stimulus", "session"]
    assert labels(table["session"]).tolist() == ["1", ""]
    by_name = pd.DataFrame({"image": ["a.png"]}, index=pd.Index(["a"], name="stimulus"))
    assert list(frame(by_name, "table")) == ["stimulus", "image"]
    assert list(frame({"stimulus": ["a"]}, "table")) == ["stimulus"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (pd.DataFrame([[1, 2]], columns=["session", "session"]), "has two columns 'session'"),
        (pd.DataFrame([[1, 2]], columns=["session", " session"]), "has two columns 'session'"),
        (pd.DataFrame([[1]], columns=[""]), "column 1 has no name"),
        (3, "is not a table"),
        ({"a": [1, 2], "b": [1]}, "is not a table"),
    ],
)
def test_what_is_no_table_in_memory(value, message):
    with pytest.raises(PhospheneError, match=message):
        frame(value, "table")


@pytest.mark.parametrize("name", ["Session", "SESSION", "session ", "Session:", "se_ssion"])
def test_a_column_that_would_be_ignored_is_told(name):
    with pytest.raises(PhospheneError, match="which is not read: rename it 'session'"):
        check_spelling(pd.DataFrame({name: ["1"]}), "table")
    check_spelling(pd.DataFrame({"session": ["1"], name: ["1"]}), "table")


def test_words_that_may_be_gaps_are_noted():
    words = ["nan", "NA", "nan", "a"]
    table = pd.DataFrame({"stimulus": words, "concept": [*words[:3], "None"], "onset": [1, np.nan, 2, 3], "rt": words})
    taken = "trials is taken for a name: leave the cell empty if it is none"
    assert doubts(table) == [
        f"stimulus 'nan' of 2 {taken}",
        f"stimulus 'NA' of 1 {taken}",
        f"concept 'None' of 1 {taken}",
        "the onset of 1 of 4 trials is missing",
    ]
    assert doubts(pd.DataFrame({"stimulus": ["a"], "onset": [np.nan]})) == []
