"""The command line as a user meets it; what only a process of its own can show is asked of one."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from phosphene.cli import app

PHOSPHENE = Path(sys.executable).parent / "phosphene"
VERBS = (
    "list",
    "simulate",
    "prepare",
    "run",
    "decode",
    "evaluate",
    "report",
    "demo",
    "fetch",
    "caption",
    "audit",
    "explain",
    "grid",
    "compare",
    "analyse",
)


def phosphene(*arguments) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], prog_name="phosphene", catch_exceptions=False)


def started(*arguments) -> subprocess.CompletedProcess:
    """In a process of its own: what libraries log and warn of would stand beside the one line."""
    return subprocess.run([PHOSPHENE, *map(str, arguments)], capture_output=True, text=True)


def fails(done, *words):
    status = done.exit_code if isinstance(done, Result) else done.returncode
    assert status == 2, done.stderr
    assert done.stderr.strip().count("\n") == 0, done.stderr
    assert done.stderr.startswith("phosphene: ")
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb):
    done = phosphene(verb, "--help")
    assert done.exit_code == 0
    assert f"Example: phosphene {verb}" in done.stdout


def test_help_names_every_verb():
    done = started("--help")
    assert all(verb in done.stdout for verb in VERBS)


def test_list_shows_what_is_registered():
    done = phosphene("list")
    assert done.exit_code == 0, done.stderr
    for name in ("muse", "synthetic", "nice", "lda", "ridge", "diffusion", "mini", "muse-houses-faces"):
        assert name in done.stdout
    fails(phosphene("list", "encodr"), "did you mean 'encoder'")


def test_bad_recipes_fail_in_one_line(tmp_path):
    fails(started("run", tmp_path / "none.yaml"), "does not exist")
    fails(phosphene("run", "muse-houses-faces"), "--set dataset.root=")
    fails(
        phosphene("run", "muse-houses-faces", "--set", "dataset.root=x", "--set", "methd.name=x"),
        "did you mean 'method'",
    )
    fails(
        phosphene("run", "muse-houses-faces", "--set", "dataset.root=/nowhere", "--out", tmp_path / "r"),
        "does not exist",
    )
    assert not (tmp_path / "r").exists()


def test_bad_folders_fail_in_one_line(tmp_path):
    fails(started("evaluate", tmp_path), "not a run folder")
    fails(phosphene("report", tmp_path), "not a run folder")
    fails(phosphene("decode", tmp_path, tmp_path, "--out", tmp_path / "o"), "not a run folder")
    fails(phosphene("simulate", "--out", tmp_path, "--n-subjects", "0"), "n_subjects")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    fails(phosphene("simulate", "--out", tmp_path / "full"), "choose another --out")
    assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    out = tmp_path_factory.mktemp("cli") / "study"
    numbers = ("--n-train-pictures", "40", "--n-test-pictures", "40", "--train-repeats", "1", "--test-repeats", "1")
    done = phosphene("simulate", "--out", out, *numbers, "--snr-db", "5")
    assert done.exit_code == 0, done.stderr
    return out


def test_simulate_knows_designs_and_layouts(tmp_path):
    out = tmp_path / "study"
    fails(phosphene("simulate", "--out", out, "--design", "phantm"), "did you mean 'phantom'")
    fails(phosphene("simulate", "--out", out, "--layout", "eegcvpr"), "did you mean 'eegcvpr40'")
    fails(phosphene("simulate", "--out", out, "--n-per-class", "5"), "--n-per-class is not an option of layout 'study'")
    fails(phosphene("simulate", "--out", out, "--layout", "eegcvpr40", "--format", "fif"), "--format is not an option")
    fails(phosphene("simulate", "--out", out, "--layout", "eegcvpr40", "--n-subjects", "7"), "1 to 6")
    assert not out.exists()


def test_simulate_then_prepare(small, tmp_path):
    words = ["prepare", "demo", "--set", f"dataset.root={small}", "--out", tmp_path / "t"]
    for _ in range(2):  # what is finished is left as it is
        done = phosphene(*words)
        assert done.exit_code == 0, done.stderr
        assert "80 of 63 channels x 100 samples" in done.stdout
    fails(phosphene(*words, "--set", "preprocessing.sfreq=100"), "exists already")
    (tmp_path / "t" / "made_of.json").unlink()
    fails(phosphene(*words), "exists already")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("preprocessing.picks=[Oz, Ox]", ("channel 'Ox' is not in the recording", "run-01")),
        ("preprocessing.sfreq=1000", ("above the recording's 250 Hz",)),
        ("preprocessing.reject=1e-9", ("none of 80 epochs is left",)),
    ],
)
def test_bad_settings_name_the_recording_and_the_fix(small, tmp_path, change, words):
    ask = started if change.startswith("preprocessing.sfreq") else phosphene
    fails(ask("prepare", "demo", "--set", f"dataset.root={small}", "--set", change, "--out", tmp_path / "t"), *words)
    assert not (tmp_path / "t").exists()


def test_a_truncated_recording_is_named(small, tmp_path):
    shutil.copytree(small, tmp_path / "s")
    (raw,) = (tmp_path / "s").rglob("*_raw.fif")
    raw.write_bytes(raw.read_bytes()[:5000])
    fails(started("prepare", "demo", "--set", f"dataset.root={tmp_path / 's'}", "--out", tmp_path / "t"), raw.name)


def test_analyses_are_asked_by_name_and_their_arguments_checked(tmp_path):
    fails(phosphene("analyse", "windows", "demo"), "unknown analysis 'windows'", "sliding-windows")
    fails(phosphene("analyse", "sliding-windows", "demo", "--with", "widht=0.2"), "unknown argument 'widht'", "width")
    fails(phosphene("analyse", "repeats", tmp_path, "--set", "protocol.seed=1"), "leave out --set and --out")
    fails(phosphene("analyse", "similarity", tmp_path), "is not a run folder")
