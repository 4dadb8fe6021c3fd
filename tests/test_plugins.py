"""Plug-ins: one package with one of each, run from the command line; and what is refused, and why."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from conftest import make_trials
from phosphene import plugins
from phosphene.backbones import table as backbones
from phosphene.errors import PhospheneError
from phosphene.runs.recipe import Recipe

EXAMPLE = Path(__file__).parents[1] / "examples" / "my_lab"
COMMANDS = """
import shlex, sys
from phosphene.cli import app
for line in open("commands.txt"):
    try:
        app(shlex.split(line), prog_name="phosphene")
    except SystemExit as end:
        print(f"status {end.code}: {line.strip()}", flush=True)
"""


@pytest.fixture
def installed(tmp_path) -> Path:
    """A folder of Python's path with the package, as an installer leaves it."""
    site = tmp_path / "site"
    shutil.copytree(EXAMPLE / "my_lab", site / "my_lab", ignore=shutil.ignore_patterns("__pycache__"))
    facts = site / "my_lab-0.1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: my-lab\nVersion: 0.1.0\n")
    (facts / "entry_points.txt").write_text("[phosphene.plugins]\nmy_lab = my_lab\n")
    (facts / "top_level.txt").write_text("my_lab\n")
    return site


def study(folder: Path) -> None:
    """What the example's dataset reads, and recipes for what else it has."""
    trials = make_trials(folder / "made", n_concepts=9, n_chans=3)
    (folder / "study" / "pictures").mkdir(parents=True)
    for name, path in trials.stimuli["image"].items():
        Image.open(path).save(folder / "study" / "pictures" / f"{name[:-1]}-{name[-1]}.png")
    shown = [f"{name[:-1]}-{name[-1]}" for name in trials.table["stimulus"]]
    np.savez(
        folder / "study" / "ann.npz",
        eeg=np.asarray(trials.eeg),
        sfreq=100.0,
        ch_names=list(trials.signal.ch_names),
        shown=shown,
        test=(trials.table["split"] == "test").to_numpy(),
    )
    common = {
        "dataset": {"name": "npz", "root": "study"},
        "evaluation": {"n_boot": 20, "n_perm": 99},
        "preprocessing": {},
        "protocol": {"select_on": "last"},
        "training": {"epochs": 1},
    }
    aligned = {"name": "nice", "encoder": "log_power", "prior": "rotation", "backbone": "my-clip"}
    for name, parts in {
        "aligned": {"method": aligned},
        "drawn": {"method": {"name": "thumbnails"}, "generator": {"name": "enlarge", "size": 32}},
    }.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"name": name, **common, **parts}))


def test_one_of_each_runs_from_the_command_line(installed, tmp_path):
    """An encoder, a dataset, a target, a method, a prior, a generator, a captioner and a row of the backbone table."""
    study(tmp_path)
    lines = [
        *(f"list {kind}" for kind in ("encoder", "dataset", "target", "method", "prior", "generator", "captioner")),
        "list backbone",
        "run aligned.yaml --out aligned",
        "run drawn.yaml --out drawn",
        "caption --images study/pictures --by brightness --slot LightHour --out said",
    ]
    (tmp_path / "commands.txt").write_text("\n".join(lines))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert [line for line in done.stdout.splitlines() if line.startswith("status ")] == [
        f"status None: {line}" for line in lines
    ], done.stdout + done.stderr
    for name in ("log_power", "npz", "thumbnail", "thumbnails", "rotation", "enlarge", "brightness", "my-clip"):
        assert f"  {name} " in done.stdout
    for run in ("aligned", "drawn"):
        assert (tmp_path / run / "report.html").is_file()
        facts = json.loads((tmp_path / run / "provenance.json").read_text())
        assert {"my_lab.dataset"} <= set(facts["plugins"])
        assert all(fact["version"] == "0.1.0" and len(fact["sha256"]) == 64 for fact in facts["plugins"].values())
    assert "my-clip" in json.loads((tmp_path / "aligned" / "provenance.json").read_text())["backbones"]
    assert len(list((tmp_path / "drawn" / "images").rglob("*.png"))) == 8  # four test pictures, and the control's
    captions = (tmp_path / "said" / "captions.csv").read_text()
    assert "LightHour" in captions
    assert ",dark," in captions or ",light," in captions
    assert all(len(path.read_text().splitlines()) < 60 for path in (EXAMPLE / "my_lab").glob("*.py"))


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")  # as where Python is started with -m, or in a notebook
    monkeypatch.setattr(plugins, "_asked", {})
    return tmp_path


MINIMAL = {"name": "x", "dataset": {"name": "synthetic", "root": "somewhere"}, "method": {"name": "nice"}}


def test_a_file_of_the_current_folder_runs_only_if_the_user_names_it(here, monkeypatch):
    (here / "lies_here.py").write_text("open('ran', 'w')")
    with pytest.raises(PhospheneError, match="it lies in this folder: add --plugin lies_here to run its code"):
        Recipe.read({**MINIMAL, "plugins": ["lies_here"]})
    assert not (here / "ran").exists()
    plugins.load(["lies_here"], here=True)
    assert (here / "ran").exists()
    recipe = Recipe.read(MINIMAL)  # what the user named is part of the recipe, which says what a run needs
    assert recipe.plugins == ["lies_here"]
    assert recipe.what() == Recipe.read({**MINIMAL, "plugins": ["json"]}).what()
    sys.modules.pop("lies_here")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere_to_be_found", "is not installed: install the package that holds it, or leave it out"),
        ("../evil", "is not a module name"),
        ("broken_one", "cannot be imported .ZeroDivisionError: division by zero.: mend it"),
    ],
)
def test_what_cannot_be_imported_is_one_line(name, message, here, monkeypatch):
    (here / "lib").mkdir()
    (here / "lib" / "broken_one.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(here / "lib"))
    with pytest.raises(PhospheneError, match=message):
        Recipe.read({**MINIMAL, "plugins": [name]})


def test_an_installed_plugin_that_fails_is_told_and_left_out(monkeypatch, caplog):
    point = importlib.metadata.EntryPoint("bad", "nowhere_to_be_found", plugins.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point])
    plugins.load_installed.cache_clear()
    plugins.load_installed()
    plugins.load_installed.cache_clear()
    assert "plugin nowhere_to_be_found of package ? cannot be imported" in caplog.text


def test_two_backbones_of_one_name_are_refused(monkeypatch):
    monkeypatch.setattr(backbones, "BACKBONES", dict(backbones.BACKBONES))
    row = backbones.Backbone("mine", "clip", "a/b", "MIT", backbones.Shapes(tokens=(77, 8), image=8))
    assert backbones.add(row) is backbones.add(row)
    with pytest.raises(PhospheneError, match="two backbones are called 'mine'"):
        backbones.add(backbones.Backbone("mine", "clip", "c/d", "MIT", backbones.Shapes(image=8)))
    with pytest.raises(PhospheneError, match="of kind 'klip'"):
        backbones.add(backbones.Backbone("other", "klip", "c/d", "MIT", backbones.Shapes(image=8)))
