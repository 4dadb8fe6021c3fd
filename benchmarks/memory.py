"""Memory and time from a published file to one epoch of training batches, against loading it the naive way.

    python benchmarks/memory.py [--n-images 16540] [--folder FOLDER] [--convert]

The file has the structure of THINGS-EEG2's `preprocessed_eeg_training.npy`: a protocol-4 pickle of a dict with one
float64 array (n_images, 4, 63, 250), 8.3 GB at full size. Each way runs in a process of its own: open the file, average
the four repetitions, whiten, read one epoch of shuffled batches. The naive way is `np.load(allow_pickle=True)` and
float32 arrays in memory; from there on both call the same functions. Peak memory is the process's largest resident
set, pages of mapped files included. The naive way is left out where memory does not suffice.
"""

import argparse
import json
import os
import pickle
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

REPEATS, N_CHANS, N_TIMES = 4, 63, 250
BATCH = 128
_DATA = b"the bytes of the array stand here"


class _Array:
    """Pickles as an ndarray whose bytes are `_DATA`."""

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape

    def __reduce__(self):
        build, arguments, _ = np.zeros(1).__reduce__()
        return build, arguments, (1, self.shape, np.dtype(np.float64), False, _DATA)


def write(path: Path, n_images: int) -> None:
    """The file, a few images at a time."""
    shape = (n_images, REPEATS, N_CHANS, N_TIMES)
    content = {
        "preprocessed_eeg_data": _Array(shape),
        "ch_names": [f"E{i}" for i in range(N_CHANS)],
        "times": -0.2 + np.arange(300) / 250,
    }
    text = pickle.dumps(content, protocol=4)[11:]  # without PROTO and FRAME
    before, after = text.split(b"C" + bytes([len(_DATA)]) + _DATA)
    rng = np.random.default_rng(0)
    mixing = np.eye(N_CHANS) + 0.3 * rng.standard_normal((N_CHANS, N_CHANS))
    block = mixing @ rng.standard_normal((64, REPEATS, N_CHANS, N_TIMES))
    with path.open("wb") as file:
        file.write(b"\x80\x04\x95" + struct.pack("<Q", len(before)) + before)
        file.write(b"\x8e" + struct.pack("<Q", 8 * int(np.prod(shape))))
        for start in range(0, n_images, len(block)):
            file.write((block[: n_images - start] * rng.uniform(0.5, 2)).tobytes())
        file.write(b"\x95" + struct.pack("<Q", len(after)) + after)


def child(way: str, path: Path) -> None:
    """One way, from start to end; prints seconds and peak memory as JSON."""
    import pandas as pd
    import torch

    from phosphene.eeg.lazy import LazyArray
    from phosphene.eeg.trials import Signal, Trials
    from phosphene.eeg.whitening import whiten
    from phosphene.utils.restricted import read_npy

    seconds: dict[str, float] = {}
    imported = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def done(stage: str, since: float) -> float:
        now = time.perf_counter()
        seconds[stage] = now - since
        return now

    clock = time.perf_counter()
    if way == "naive":
        content = np.load(path, allow_pickle=True)
        eeg = content["preprocessed_eeg_data"].astype(np.float32).reshape(-1, N_CHANS, N_TIMES)
    else:
        content = read_npy(path)
        eeg = LazyArray(content["preprocessed_eeg_data"])
    n_images = content["preprocessed_eeg_data"].shape[0]
    names = [f"s{i:05d}" for i in range(n_images)]
    table = pd.DataFrame({"subject": "01", "stimulus": np.repeat(names, REPEATS)})
    stimuli = pd.DataFrame({"concept": names}, index=pd.Index(names, name="stimulus"))
    trials = Trials(eeg, table, stimuli, Signal(tuple(content["ch_names"]), 250.0))
    clock = done("open", clock)
    if way == "convert":
        trials.save(path.with_name("trials"))
        clock = done("save", clock)
    else:
        trials = trials.average()
        clock = done("average", clock)
        trials, _ = whiten(trials, np.ones(len(trials), bool))
        clock = done("whiten", clock)
        total = 0.0
        for rows in np.array_split(np.random.default_rng(0).permutation(len(trials)), -(-len(trials) // BATCH)):
            total += float(torch.from_numpy(np.asarray(trials.eeg[rows])).square().sum())
        done("one epoch", clock)
        seconds["checksum"] = total
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "peak": peak * 1024, "imported": imported * 1024}))


def available() -> int:
    """Bytes of memory that can be had without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable"):
            return 1024 * int(line.split()[1])
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-images", type=int, default=16_540)
    parser.add_argument(
        "--folder", type=Path, default=None, help="where the file is made; a temporary folder if not said"
    )
    parser.add_argument("--convert", action="store_true", help="also write all repetitions with Trials.save")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child[0], Path(given.child[1]))
        return
    size = 8 * given.n_images * REPEATS * N_CHANS * N_TIMES
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        need = size * (1.6 if given.convert else 1.1)
        if shutil.disk_usage(folder).free < need:
            sys.exit(f"{need / 1e9:.1f} GB of disk are needed in {folder}: name another --folder or fewer --n-images")
        path = Path(folder) / "preprocessed_eeg_training.npy"
        write(path, given.n_images)
        os.sync()
        print(
            f"file: {path.stat().st_size / 1e9:.2f} GB, ({given.n_images}, {REPEATS}, {N_CHANS}, {N_TIMES}) float64\n"
        )
        print("| way | peak memory, GB | of it before opening | seconds |\n|---|---|---|---|")
        sums = []
        for way in ("phosphene", *(["convert"] if given.convert else []), "naive"):
            if way == "naive" and available() < 2.2 * size + 1e9:
                print(f"| naive | left out: {available() / 1e9:.1f} GB of memory available | | |")
                continue
            command = [sys.executable, __file__, "--child", way, str(path)]
            ran = subprocess.run(command, capture_output=True, text=True)
            if ran.returncode:
                print(f"| {way} | failed: {(ran.stderr.strip().splitlines() or [ran.returncode])[-1]} | | |")
                continue
            got = json.loads(ran.stdout)
            sums.append(got["seconds"].pop("checksum", None))
            took = ", ".join(f"{stage} {value:.1f}" for stage, value in got["seconds"].items())
            total = sum(got["seconds"].values())
            print(
                f"| {way} | {got['peak'] / 1e9:.2f} | {got['imported'] / 1e9:.2f} | {total:.1f} ({took}) |", flush=True
            )
        sums = [s for s in sums if s is not None]
        if len(sums) == 2:
            print(f"\nsum of squares of what the batches held: {sums[0]:.6e} and {sums[1]:.6e}")


if __name__ == "__main__":
    main()
