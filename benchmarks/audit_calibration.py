"""How often the audit's decoding gates raise a false alarm on sound studies, and catch each planted fault.

    python benchmarks/audit_calibration.py --out F [--studies 100] [--processes 2] [--pictures 2 3 8 40]

Studies of `phosphene.simulate.known`, a subject of its own each: 2, 3 or 8 pictures shown again and again in four
runs, which are left out in turn, or 40 classes of 15 pictures shown once. A study is caught when any gate fails.
Intervals are Clopper-Pearson's, 95 %. Every study's answer is a line of `F`, so that a stopped benchmark is continued.
"""

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy.stats import binomtest

from phosphene.audit.decoding import Auditor
from phosphene.evaluation.protocols import Protocol
from phosphene.simulate.designs import Design
from phosphene.simulate.known import DESIGNS, FEW_DESIGNS, few_trials, known_trials

MANY = 40  # from so many on, pictures are shown once, in classes
GATES = ("C1", "C2", "C3", "C5", "C7")


def designs(n: int) -> dict[str, Design]:
    return DESIGNS if n >= MANY else FEW_DESIGNS


def asked(n: int, design: str, seed: int, snr_db: float, leak: float, n_perm: int) -> dict:
    """Whether anything is decoded in one study, and the gates that fail or have no power."""
    made = designs(n)[design]
    if n >= MANY:
        trials = known_trials(design, seed=seed, n_classes=n, snr_db=snr_db, leak=leak)
        protocol = Protocol(val_fraction=0, select_on="last")
    else:
        trials = few_trials(design, seed=seed, n_pictures=n, snr_db=snr_db, leak=leak)
        split = "given" if design in ("block-silent", "shared") else "leave_one_run_out"
        protocol = Protocol(split=split, average_test=1, val_fraction=0, select_on="last")
    category = trials.stimuli["category"].reindex(trials.table["stimulus"]).to_numpy(str)
    auditor = Auditor(
        trials,
        list(protocol.folds(trials)),
        design="block" if made.order == "block" else "rapid",
        category=category if n >= MANY else None,
        n_perm=n_perm,
        seed=seed,
    )
    found = [c for c in auditor.controls() if c.fold == "all"]
    return {
        "pictures": n,
        "design": design,
        "seed": seed,
        "decoded": found[0].reason == "yes",
        "fails": sorted({c.name for c in found if c.verdict == "fail"}),
        "powerless": sorted({c.name for c in found if c.reason.startswith("no power")}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--pictures", type=int, nargs="+", default=[2, 3, 8, MANY])
    parser.add_argument("--snr-db", type=float, default=-5.0)
    parser.add_argument("--leak", type=float, default=0.3)
    parser.add_argument("--n-perm", type=int, default=200)
    parser.add_argument("--designs", nargs="+")
    given = parser.parse_args()
    known = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.is_file() else []
    done = {(row["pictures"], row["design"], row["seed"]) for row in known}
    wanted = [
        (n, design, seed)
        for seed in range(1, given.studies + 1)
        for n in given.pictures
        for design in designs(n)
        if not given.designs or design in given.designs
    ]
    with ProcessPoolExecutor(given.processes) as pool, given.out.open("a") as file:
        jobs = [pool.submit(asked, *job, given.snr_db, given.leak, given.n_perm) for job in wanted if job not in done]
        for job in as_completed(jobs):
            known.append(job.result())
            file.write(json.dumps(known[-1]) + "\n")
            file.flush()
    print(f"| pictures | design | sound | decoded | any gate fails | 95 % | {' | '.join(GATES)} |")
    print("|---|---|---|---|---|---|" + "---|" * len(GATES))
    for n, design in dict.fromkeys((n, design) for n, design, _ in sorted(wanted, key=lambda w: w[0])):
        rows = [row for row in known if (row["pictures"], row["design"]) == (n, design)]
        hits = sum(bool(row["fails"]) for row in rows)
        low, high = binomtest(hits, len(rows)).proportion_ci()
        each = [f"{np.mean([gate in row['fails'] for row in rows]):.2f}" for gate in GATES]
        decoded, sound = np.mean([row["decoded"] for row in rows]), "yes" if designs(n)[design].sound else "no"
        caught = f"{hits}/{len(rows)} | {low:.3f} to {high:.3f}"
        print(f"| {n} | `{design}` | {sound} | {decoded:.2f} | {caught} | {' | '.join(each)} |")


if __name__ == "__main__":
    main()
