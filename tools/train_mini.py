"""Trains `mini`, the embedded backbone, on drawn scenes, and writes it as a stock diffusers pipeline.

    python tools/train_mini.py --out runs/mini

Stages, in order: `text` (text tower), `judge` (independent critic), `vae`, `clip` (vision tower, aligned to the frozen
text tower), `unet` (flow matching), `adapter` (image prompt), `export`, `score`. Each trained stage goes on from its
checkpoint in `--out` and ends with a score on held-out scenes; every batch is drawn from (seed, stage, step) alone, so
that a resumed run equals an uninterrupted one. No trained stage but the judge's sees a held-out object, none of the
others a held-out combination.

On two cores, with two processes that share each batch:

    OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 tools/train_mini.py --threads 1 --out runs/mini

On a GPU, in slices of nine minutes (`torch`, `transformers` and `diffusers` are enough; the same command goes on):

    PYTHONPATH=src python tools/train_mini.py --out runs/mini --device cuda --minutes 9
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from mini.stages import STAGES, TRAINED, Run, processes

ROOT = Path(__file__).resolve().parent.parent
ASSETS, WALLS = ROOT / "src" / "phosphene" / "assets" / "mini", ROOT / "docs" / "img"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/mini", help="checkpoints and caches")
    parser.add_argument("--stage", nargs="+", default=["all"], choices=("all", *STAGES))
    parser.add_argument("--assets", default=ASSETS, help="where the export goes, and what is scored")
    parser.add_argument("--walls", default=WALLS, help="where the pictures of samples go")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="of each process")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--minutes", type=float, help="stop after so many minutes, for a later run to go on")
    parser.add_argument("--larger-batch", type=int, default=1, help="multiplies every batch, for a GPU")
    parser.add_argument("--n-scenes", type=int, default=32_000)
    parser.add_argument("--n-score", type=int, default=512)
    parser.add_argument("--steps-scale", type=float, default=1.0, help="multiplies every stage's steps")
    parser.add_argument("--stop-after", type=int, help="stop each stage at this step, for a later run to go on")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    run = Run(args, processes(args.device))
    for stage in STAGES:
        if stage not in args.stage and "all" not in args.stage:
            continue
        if stage in TRAINED:
            getattr(run, stage)()
        elif run.processes.rank == 0:
            from mini import release

            getattr(release, stage)(run, Path(args.assets), Path(args.walls), args.n_score)


if __name__ == "__main__":
    main()
