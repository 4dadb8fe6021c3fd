"""What several tests share: made trials with a known signal, and the golden vectors."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import settings
from PIL import Image

from phosphene.captions import SLOTS
from phosphene.eeg.trials import Signal, Trials
from phosphene.simulate.study import simulate
from phosphene.utils.checksums import SUMS

settings.register_profile("untimed", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("untimed")

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """No test, and no fixture of any scope, reads or fills the user's cache; the processes of one run share theirs."""
    own = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHOSPHENE_CACHE", str((own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "cache"))
        yield


def golden(case: str) -> tuple[dict, dict[str, np.ndarray]]:
    """How a golden case was made, and its arrays."""
    with np.load(GOLDEN / f"{case}.npz", allow_pickle=False) as arrays:
        return json.loads((GOLDEN / f"{case}.json").read_text()), dict(arrays)


#: Largest difference from a published output, in its root mean square. Ours is computed in double precision, so that
#: what differs is the rounding of the published run, which was in single precision: the same on every processor.
ROUNDING = 5e-5


def off(got, want: np.ndarray, rms: float | None = None) -> float:
    """The largest difference from a published output, in its root mean square (``rms``, where it is not whole)."""
    assert got.dtype == torch.float64, "compute it in double precision: single rounds elsewhere on other processors"
    rms = float(np.sqrt((want.astype(np.float64) ** 2).mean())) if rms is None else rms
    return float(np.abs(got.detach().numpy() - want).max() / rms)


def without_checksums(folder: Path) -> Path:
    """The folder as it was written before there were checksums."""
    for file in folder.rglob(SUMS):
        file.unlink()
    return folder


def make_trials(
    folder: Path | None = None,
    n_concepts: int = 6,
    pictures: int = 2,
    repeats: int = 3,
    n_chans: int = 5,
    n_times: int = 40,
    subjects: tuple[str, ...] = ("01",),
    n_runs: int = 2,
    seed: int = 0,
) -> Trials:
    """Trials whose EEG is a pattern of their stimulus plus noise; the last two concepts are the test split."""
    rng = np.random.default_rng(seed)
    names = [f"s{c}{p}" for c in range(n_concepts) for p in range(pictures)]
    concepts = [f"c{name[1]}" for name in names]
    captions = {slot.name: [f"a {c} in {slot.level}" for c in concepts] for slot in SLOTS}
    stimuli = pd.DataFrame({"concept": concepts, **captions, "ObjectSnap": [f"a {c}" for c in concepts]}, index=names)
    stimuli.index.name = "stimulus"
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(folder / f"{name}.png")
        stimuli["image"] = [str(folder / f"{name}.png") for name in names]
    rows = [
        {
            "subject": s,
            "session": "01",
            "run": f"{1 + r % n_runs:02d}",
            "stimulus": name,
            "concept": concept,
            "repeat": r,
            "onset": 0.0,
            "split": "test" if int(concept[1:]) >= n_concepts - 2 else "train",
        }
        for s in subjects
        for r in range(repeats)
        for name, concept in zip(names, concepts, strict=True)
    ]
    table = pd.DataFrame(rows)
    pattern = rng.standard_normal((len(names), n_chans, n_times))
    eeg = pattern[[names.index(n) for n in table["stimulus"]]] + 0.5 * rng.standard_normal(
        (len(table), n_chans, n_times)
    )
    signal = Signal(("Fz", "Cz", "Pz", "Oz", "O1", "O2", "P3", "P4")[:n_chans], 100.0, -0.1)
    return Trials((1e-6 * eeg).astype(np.float32), table, stimuli, signal)


@pytest.fixture
def trials() -> Trials:
    return make_trials()


@pytest.fixture(scope="session")
def cheap(tmp_path_factory):
    """Overrides of the demo recipe that make training on a small simulated study cheap."""
    study = simulate(
        tmp_path_factory.mktemp("cheap") / "s",
        n_subjects=2,
        n_train_pictures=40,
        n_test_pictures=40,
        train_repeats=1,
        test_repeats=4,
        snr_db=10.0,
    )
    return {
        "dataset.root": str(study),
        "generator": None,
        "training.epochs": 2,
        "evaluation.n_boot": 100,
        "evaluation.n_perm": 99,
        "evaluation.shuffled_control": False,
    }


@pytest.fixture(scope="module")
def scores_alone():
    """No ideal observer, no page: they take longer than all the rest, and are asked elsewhere."""

    def page(folder):
        (folder / "report.html").write_text("")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("phosphene.runs.scoring.ceilings", lambda experiment: {})
        patch.setattr("phosphene.grid.write_report", page)
        yield
