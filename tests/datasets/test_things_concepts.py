"""Animate or not, from THINGS' table of categories, with its traps; then the true table, where it is present."""

import os
from pathlib import Path

import pandas as pd
import pytest
import things_made as made

from phosphene.datasets.things.concepts import PEOPLE, with_category
from phosphene.datasets.things.eeg2 import ThingsEEG2
from phosphene.errors import PhospheneError

SHARED = Path(os.environ.get("PHOSPHENE_SHARED", Path(__file__).resolve().parents[3] / "shared"))
TRUE = SHARED / "data" / "things-concepts"
NAME = "Categories_final_20200131_fixedUniqueID.tsv"
ANIMALS = {"aardvark", "zebra"}


def write(folder: Path, names: list[str], animals: set[str] = ANIMALS, column: str = "animal") -> Path:
    """The table's form: ids with blanks for underscores, a 1 or nothing for each category, some without any."""
    rows = [f"uniqueID\tWord\t{column}\tbird"]
    rows += [f"{n.replace('_', ' ')}\t{n}\t{'1' if n in animals else ''}\t" for n in names]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / NAME


def pictures(*concepts: str) -> pd.DataFrame:
    return pd.DataFrame({"concept": concepts}, index=[f"{c}_01b" for c in concepts])


@pytest.mark.parametrize("given", ["metadata", f"metadata/{NAME}", "."])
def test_animals_and_people_are_animate(tmp_path, given):
    write(tmp_path / "metadata", ["aardvark", "aircraft_carrier", "woman", "fern"])
    table = with_category(pictures("aircraft_carrier", "woman", "aardvark", "fern"), tmp_path, given)
    assert table["category"].tolist() == ["inanimate", "animate", "animate", "inanimate"]
    assert table.index.tolist() == ["aircraft_carrier_01b", "woman_01b", "aardvark_01b", "fern_01b"]


def test_without_a_table_nothing_is_added(tmp_path):
    assert list(with_category(pictures("zebra"), tmp_path, None)) == ["concept"]


@pytest.mark.parametrize(
    ("names", "column", "given", "message"),
    [
        (["aardvark"], "animal", ".", "does not name concept 'zebra'.*dataset.concepts to null"),
        (["zebra"], "beast", ".", "has no columns uniqueID and animal"),
        (["zebra"], "animal", "other", "is missing: set dataset.concepts to THINGS"),
        ([], "animal", "empty", "holds no .*fixedUniqueID.tsv"),
    ],
)
def test_refusals_are_one_line_and_name_the_key(tmp_path, names, column, given, message):
    write(tmp_path, names, column=column)
    (tmp_path / "empty").mkdir()
    with pytest.raises(PhospheneError, match=message) as caught:
        with_category(pictures("zebra"), tmp_path, given)
    assert "dataset.concepts" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_things_eeg2_has_the_column_in_its_trials(tmp_path):
    made.write_preprocessed(tmp_path / "eeg")
    made.pictures(tmp_path / "Image_set")
    write(tmp_path / "metadata", [*made.CONCEPTS, *made.TESTED])
    dataset = ThingsEEG2(tmp_path, concepts="metadata")
    trials = dataset.load(dataset.steps({}))
    animate = trials.stimuli["concept"].isin(ANIMALS)
    assert trials.stimuli["category"].tolist() == ["animate" if a else "inanimate" for a in animate]
    assert animate.sum() == 3  # two pictures of the aardvark, one of the zebra
    assert "category" not in ThingsEEG2(tmp_path).stimuli()


@pytest.mark.skipif(not TRUE.is_dir(), reason=f"THINGS' tables are not at {TRUE}")
def test_the_true_table_knows_every_concept():
    lines = (TRUE / "file_names_THINGS.txt").read_text(encoding="utf-8").split()
    concepts = sorted({line.rpartition("_")[0] for line in lines})
    table = with_category(pictures(*concepts), TRUE, ".").set_index("concept")["category"]
    assert (table == "animate").sum() == 177 + len(PEOPLE)  # the table's own total of animals
    for name in ("aardvark", "chicken2", "crow", "ant", "woman"):
        assert table[name] == "animate"
    for name in ("air_conditioner", "acorn", "face", "fern", "seaweed"):
        assert table[name] == "inanimate"
