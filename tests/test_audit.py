"""`phosphene audit` on run folders: the file, the table of the page, the exit status."""

import json

import pytest
from typer.testing import CliRunner

from phosphene.audit import audit
from phosphene.cli import app
from phosphene.experiment import Experiment
from phosphene.recipe import Recipe
from phosphene.simulate.known import known_trials


def recipe(root, **changes):
    return Recipe.read({
        "name": "known", "dataset": {"name": "arrays", "root": str(root), "concept": "concept", **changes},
        "preprocessing": {}, "protocol": {"select_on": "last", "val_fraction": 0, "average_test": 1},
        "method": {"name": "lda"}, "evaluation": {"n_boot": 50, "n_perm": 20, "twin": False},
    })  # fmt: skip


@pytest.fixture
def study(tmp_path):
    def make(design):
        trials = known_trials(design, seed=1, n_classes=30, per_class=5)
        return trials.save(tmp_path / design)

    return make


def test_a_sound_run_exits_0_and_a_confounded_one_1(study, tmp_path):
    for design, status in (("rapid", 0), ("block-silent", 1)):
        out = tmp_path / f"run-{design}"
        Experiment(recipe(study(design)), out).prepare()
        result = CliRunner().invoke(app, ["audit", str(out), "--n-perm", "150"])
        assert result.exit_code == status, result.output
        facts = json.loads((out / "audit.json").read_text())
        assert bool(facts["failed"]) == bool(status)
        assert {c["name"] for c in facts["controls"]} >= {"decoding", "C1", "C2", "C3", "C5", "C7"}
        assert [c["verdict"] for c in facts["controls"] if c["name"] == "C1"] != ["left out"]


def test_a_block_design_is_taken_at_its_word(study, tmp_path):
    out = tmp_path / "run"
    Experiment(recipe(study("block"), design="block"), out).prepare()
    failed = {c.name for c in audit(out, n_perm=150) if c.verdict == "fail"}
    assert {"C3", "C7"} <= failed
