"""How long an audit of a study of EEGCVPR40's shape takes, stage by stage, and what it says.

    python benchmarks/audit_eegcvpr40.py [--study FOLDER] [--out FOLDER] [--design block] [--n-subjects 6]

Without `--study` a study is simulated in the published files (`phosphene simulate --layout eegcvpr40`). Then the recipe
`eegcvpr40-quick` is run and audited. Times are seconds of the clock and of this process's own processors: where the
machine has other work, the second is the one to compare. `--profile` lists where the time of the audit goes.
"""

import argparse
import cProfile
import os
import pstats
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")

from phosphene.api import run
from phosphene.audit import audit, lines
from phosphene.datasets.eegcvpr40.simulated import simulate
from phosphene.report import headline
from phosphene.simulate.designs import DESIGNS


@contextmanager
def timed(stage: str) -> Iterator[None]:
    clock, own = time.perf_counter(), time.process_time()
    yield
    print(f"{stage}: {time.perf_counter() - clock:.0f} s, processors {time.process_time() - own:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, help="a folder of the files; simulated if not given")
    parser.add_argument("--out", type=Path, help="where study and run are kept; a temporary folder if not given")
    parser.add_argument("--design", choices=list(DESIGNS), default="block")
    parser.add_argument("--n-subjects", type=int, default=6)
    parser.add_argument("--n-per-class", type=int, default=50)
    parser.add_argument("--n-perm", type=int, default=500)
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = given.out or Path(temporary)
        study = given.study or out / f"study-{given.design}"
        if given.study is None:
            with timed("simulate"):
                simulate(study, n_subjects=given.n_subjects, n_per_class=given.n_per_class, design=given.design)
        with timed("run"):
            folder = run("eegcvpr40-quick", {"dataset.root": str(study)}, out / f"run-{given.design}")
        profile = cProfile.Profile()
        with timed("audit"):
            if given.profile:
                profile.enable()
            found = audit(folder, n_perm=given.n_perm)
            profile.disable()
        print("\n".join([*headline(folder), *lines(found)]))
        if given.profile:
            pstats.Stats(profile).sort_stats("cumulative").print_stats(40)


if __name__ == "__main__":
    main()
