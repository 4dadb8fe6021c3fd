"""`provenance.json`: with what, from what and how a run was made."""

import platform
import subprocess
import sys
import time
from importlib.metadata import packages_distributions, version
from inspect import signature
from pathlib import Path

import numpy as np

from phosphene import runtime
from phosphene.backbones.table import BACKBONES
from phosphene.eeg.trials import Trials
from phosphene.runs.checks import parts
from phosphene.runs.recipe import Recipe
from phosphene.utils.checksums import keep_json
from phosphene.utils.files import digest, read_json

PACKAGES = (
    "phosphene",
    "torch",
    "numpy",
    "scipy",
    "mne",
    "scikit-learn",
    "transformers",
    "diffusers",
    "accelerate",
)


def write(path: Path, recipe: Recipe, trials: Trials, overlaps: dict[str, dict[str, int]]) -> None:
    """Versions, source revision, device, seeds, hashes of data and protocol, backbones, and overlaps of the split."""
    if path.is_file():
        return
    has = [(signature(cls).parameters.get("backbone"), given) for cls, given in parts(recipe)]
    used = {given.get("backbone", its.default) for its, given in has if its is not None}
    keep_json(
        path,
        {
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": {name: version(name) for name in PACKAGES},
            "git": revision(),
            "runtime": [runtime.used()],
            "seed": recipe.protocol.seed,
            "protocol": recipe.protocol.model_dump(),
            "protocol_hash": recipe.protocol.hash,
            "recipe_hash": digest(recipe.what()),
            "data_hash": data_hash(trials),
            "n_trials": len(trials),
            "backbones": {name: BACKBONES[name].identity() for name in sorted(used) if name in BACKBONES},
            "plugins": outside(recipe),
            "overlaps": overlaps,
        },
    )


def ran(path: Path) -> None:
    """Adds, under `runtime`, the device and the precision of frozen models that the run uses now, once each.

    A folder that was begun without the record gets none.
    """
    if not path.is_file():
        return
    facts, now = read_json(path), runtime.used()
    if now not in (before := facts.get("runtime", [now])):
        keep_json(path, {**facts, "runtime": [*before, now]})


def outside(recipe: Recipe) -> dict[str, dict[str, str]]:
    """Of each module outside the package whose classes the recipe names, or that is its plug-in: its package's version
    and the checksum of its file."""
    names = {cls.__module__ for cls, _ in parts(recipe)} | set(recipe.plugins)
    found = {}
    for name in sorted(name for name in names if name.partition(".")[0] != "phosphene"):
        file = getattr(sys.modules.get(name), "__file__", None)
        packages = packages_distributions().get(name.partition(".")[0], [])
        found[name] = {
            "version": version(packages[0]) if packages else "",
            "sha256": digest(Path(file), 64) if file else "",
        }
    return found


def data_hash(trials: Trials) -> str:
    """Of the EEG's bytes and the trial table."""
    parts = [digest(np.ascontiguousarray(trials.eeg[i : i + 256]).tobytes(), 64) for i in range(0, len(trials), 256)]
    return digest([parts, trials.table.to_csv(index=False)])


def revision() -> str | None:
    """Commit of the source tree that runs, with `+` if files differ from it; None outside a checkout."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None
