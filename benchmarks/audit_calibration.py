"""How often the audit's decoding gates raise a false alarm on sound studies, and catch each planted fault.

    python benchmarks/audit_calibration.py [--studies 100] [--processes 2] [--snr-db -5] [--leak 0.3]

Studies of `phosphene.simulate.known`: 40 classes of 15 pictures, a subject of its own each. A study is caught when any
gate fails. Intervals are Clopper-Pearson's, 95 %.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy.stats import binomtest

from phosphene.evaluation.audit import Auditor
from phosphene.evaluation.protocols import Protocol
from phosphene.simulate.known import DESIGNS, known_trials


def failed(design: str, seed: int, snr_db: float, leak: float) -> tuple[str, bool, list[str]]:
    """The design, whether anything is decoded, and the gates that fail."""
    trials = known_trials(design, seed=seed, snr_db=snr_db, leak=leak)
    folds = list(Protocol(val_fraction=0, select_on="last").folds(trials))
    category = trials.stimuli["category"].reindex(trials.table["stimulus"]).to_numpy(str)
    auditor = Auditor(trials, folds, design=DESIGNS[design].order, category=category, n_perm=400, seed=seed)
    found = list(auditor.controls())
    return design, found[0].p < 0.05, [c.name for c in found if c.verdict == "fail"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--snr-db", type=float, default=-5.0)
    parser.add_argument("--leak", type=float, default=0.3)
    parser.add_argument("--designs", nargs="+", choices=list(DESIGNS), default=list(DESIGNS))
    given = parser.parse_args()
    with ProcessPoolExecutor(given.processes) as pool:
        jobs = [
            pool.submit(failed, design, seed, given.snr_db, given.leak)
            for design in given.designs
            for seed in range(1, given.studies + 1)
        ]
        found = [job.result() for job in jobs]
    gates = ("C1", "C2", "C3", "C5", "C7")
    print(f"| design | sound | decoded | any gate fails | 95 % | {' | '.join(gates)} |")
    print("|---|---|---|---|---|" + "---|" * len(gates))
    for design in given.designs:
        rows = [(decoded, fails) for name, decoded, fails in found if name == design]
        hits = sum(bool(fails) for _, fails in rows)
        low, high = binomtest(hits, len(rows)).proportion_ci()
        each = [f"{np.mean([gate in fails for _, fails in rows]):.2f}" for gate in gates]
        decoded = np.mean([d for d, _ in rows])
        sound = "yes" if DESIGNS[design].sound else "no"
        caught = f"{hits}/{len(rows)} | {low:.3f} to {high:.3f}"
        print(f"| {design} | {sound} | {decoded:.2f} | {caught} | {' | '.join(each)} |")


if __name__ == "__main__":
    main()
