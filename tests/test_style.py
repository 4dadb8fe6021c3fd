"""The house rules that a machine can check."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "src", "tests", "tools", "examples"],
        ["ruff", "format", "--check", "src", "tests", "tools", "examples"],
        pytest.param(["mypy"], marks=pytest.mark.slow),
        ["lint-imports"],
    ],
    ids=lambda words: words[0],
)
def test_tools_are_content(command):
    done = subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def sources():
    return [
        p
        for folder in ("src", "tests", "tools", "docs", "recipes")
        for p in (ROOT / folder).rglob("*.*")
        if p.suffix in (".py", ".md", ".yaml", ".css", ".toml")
    ]


def test_no_path_of_one_machine():
    odd = [
        str(p) for p in sources() if re.search(r"/(?:home|Users|root|mnt|work)/[a-z]", p.read_text(encoding="utf-8"))
    ]
    assert odd == [str(Path(__file__))] or odd == []


def test_the_environment_is_never_written():
    written = re.compile(r"os\.environ\[[^\]]+\]\s*=(?!=)|os\.putenv|environ\.setdefault")
    assert [str(p) for p in (ROOT / "src").rglob("*.py") if written.search(p.read_text())] == []


def test_importing_the_command_line_is_light():
    code = "import sys, phosphene.cli; print([m for m in ('numpy', 'torch', 'mne') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert done.stdout.strip() == "[]", done.stderr


def test_no_file_is_too_large_to_ship():
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True).stdout.split("\0")
    assert [p for p in tracked if p and (ROOT / p).is_file() and (ROOT / p).stat().st_size > 16e6] == []


def test_the_map_of_modules_is_that_of_the_code():
    tool = runpy.run_path(str(ROOT / "tools" / "module_map.py"))
    assert tool["page"]() == tool["PAGE"].read_text(encoding="utf-8"), "run python tools/module_map.py"
    package = ROOT / "src" / "phosphene"
    there = {p.stem for p in package.glob("*.py")} | {p.parent.name for p in package.glob("*/__init__.py")}
    assert there - {"__init__", "__main__"} == {name for layer in tool["layers"]() for name in layer}
    assert [str(p) for p in package.rglob("*.py") if not tool["about"](p)] == [], "a module says what it is"
