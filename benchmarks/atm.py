"""ATM beside its released form and other encoders, and its pictures, as fractions of the ideal observer.

    python benchmarks/atm.py --out FOLDER [--grid atm-encoders atm-drawings] [--snr-db -13 -10 -7] [--seeds 0 1 2]

A simulated study for each ratio and seed (the seed is also that of the training); in each, the variants of the shipped
grids, which hold all settings. Finished runs in FOLDER are kept, so that a benchmark that was stopped goes on. Printed
are, of all people of a study together, mean and range over studies: the value, its shuffled control and the ideal
observer, and the value as a fraction of the ideal observer's.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")

import pandas as pd

from phosphene.grid import Grid, run_grid
from phosphene.grid.tables import overall
from phosphene.simulate.study import simulate


def cells(x: pd.Series) -> str:
    """Mean and range."""
    x = x.dropna()
    return f"{x.mean():.3f} ({x.min():.3f} to {x.max():.3f})" if len(x) else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--grid", nargs="+", default=["atm-encoders", "atm-drawings"])
    parser.add_argument("--snr-db", type=float, nargs="+", default=[-13.0, -10.0, -7.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--n-subjects", type=int, default=2)
    parser.add_argument("--without", nargs="+", default=[], metavar="VARIANT", help="of the grids, not run")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.grid:
        grid, parts = Grid.read(name), []
        grid = grid.model_copy(update={"variants": {k: v for k, v in grid.variants.items() if k not in given.without}})
        for seed in given.seeds:
            for snr in given.snr_db:
                study = simulate(given.out / f"study{snr:g}-{seed}", n_subjects=given.n_subjects, snr_db=snr, seed=seed)
                changes = {"dataset.root": str(study.resolve()), "protocol.seed": seed}
                out = run_grid(grid.model_dump(), changes, given.out / f"{name}{snr:g}-{seed}")
                parts.append(overall(pd.read_csv(out / "grid.csv")).assign(snr_db=snr, study_seed=seed))
                print(f"{out} is done", flush=True)
                pd.concat(parts).to_csv(given.out / f"{name}.csv", index=False)
        table = pd.concat(parts)
        table["fraction"] = table["value"] / table["ceiling"]
        columns = ["value", "shuffled", "ceiling", "fraction"]
        print(f"\n| metric | variant | dB | {' | '.join(columns)} | studies |\n|{'---|' * 8}")
        for metric in grid.metrics or []:
            for (variant, snr), part in table[table["metric"] == metric].groupby(["variant", "snr_db"], sort=False):
                shown = " | ".join(cells(part[column]) for column in columns)
                print(f"| {metric} | {variant} | {snr:g} | {shown} | {len(part)} |")
        print(flush=True)


if __name__ == "__main__":
    main()
