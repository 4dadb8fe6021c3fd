"""`provenance.json`: with what, from what and how a run was made."""

import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from phosphene import runtime
from phosphene.backbones.table import BACKBONES
from phosphene.eeg.trials import Trials
from phosphene.runs.recipe import Recipe
from phosphene.utils.checksums import keep_json
from phosphene.utils.files import digest, read_json

PACKAGES = (
    "phosphene", "torch", "numpy", "scipy", "mne", "scikit-learn", "transformers", "diffusers", "accelerate",
)  # fmt: skip


def write(path: Path, recipe: Recipe, trials: Trials, overlaps: dict[str, dict[str, int]]) -> None:
    """Versions, source revision, device, seeds, hashes of data and protocol, backbones, and overlaps of the split."""
    if path.is_file():
        return
    used = {part.get("backbone", "mini") for part in (recipe.method, recipe.generator or {}) if _has_backbone(part)}
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


def _has_backbone(part: dict[str, Any]) -> bool:
    import inspect

    from phosphene.registry import find

    kind = "generator" if part.get("name") in ("diffusion", "nearest") else "method"
    return bool(part) and "backbone" in inspect.signature(find(kind, part["name"])).parameters


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
