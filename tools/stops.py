"""Stops commands where nobody expects it; the same command must then end as if nothing had happened.

    python tools/stops.py FOLDER --how kill --n 20 --seed 0 run audit

Half of the stops fall on a random change of a file (opened to write, moved, removed), half on a random moment. Then the
command is given again. It must succeed, leave the files of a run that was never stopped, byte by byte, and nothing
hidden. ``--how term`` sends SIGTERM, which must be answered in one line; ``full`` leaves a random number of bytes free
on the disk of FOLDER, which must be a small one (``mount -t tmpfs -o size=400m tmpfs FOLDER``) that nothing else writes
to. ``pairs`` starts a command twice at once: one of them must do it, and the other be told that the folder is in use.
"""

import argparse
import hashlib
import importlib
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import small_studies

os.environ["OMP_NUM_THREADS"] = "1"

CHEAP = "evaluation: {n_boot: 20, n_perm: 49, shuffled_control: true}\n"
RECIPES = {
    "trained": f"""name: trained
dataset: {{name: arrays, root: study}}
preprocessing: {{}}
method: {{name: nice, encoder: projection}}
protocol: {{select_on: val, val_fraction: 0.5}}
training: {{epochs: 2, checkpoint_every: 1}}
{CHEAP}""",
    "semantic": f"""name: semantic
dataset: {{name: synthetic, root: scenes}}
preprocessing: {{sfreq: 125.0}}
window: [0.0, 0.6]
whitening: epochs
method: {{name: semantic_prompts, encoder: spatiotemporal, backbone: mini}}
protocol: {{select_on: last, average_test: 0}}
training: {{epochs: 1}}
generator: {{name: diffusion, backbone: mini, steps: 1}}
{CHEAP}""",
    "atm": f"""name: atm
dataset: {{name: synthetic, root: scenes}}
preprocessing: {{sfreq: 125.0}}
window: [0.0, 0.6]
method: {{name: atm, encoder_args: {{kernel: 13, pool: 25, stride: 3}}, backbone: mini}}
protocol: {{select_on: last, average_test: 0}}
training: {{epochs: 1, stages: {{prior: {{epochs: 2}}}}}}
generator: {{name: diffusion, backbone: mini, steps: 1}}
{CHEAP}""",
}
GRID = "name: two\nrecipe: trained.yaml\nvariants: {one: null, two: {protocol.seed: 1}}\n"
AUDIT = "--n-perm 120 --n-pictures 4"
SCENES = "--n-train-pictures 16 --n-test-pictures 6 --train-repeats 1 --test-repeats 2 --snr-db 0"
#: what a verb does to the folder "new", and the finished run whose copy that folder is before it
VERBS = {
    "simulate": (f"simulate --out new {SCENES}", None),
    "prepare": ("prepare semantic.yaml --out new", None),
    "caption": ("caption --images study/pictures --by file --set path=said.csv --slot ObjectSnap --out new", None),
    "run": ("run trained.yaml --out new", None),
    "run-drawn": ("run semantic.yaml --out new", None),
    "run-atm": ("run atm.yaml --out new", None),
    "grid": ("grid two.yaml --out new", None),
    "analyse": ("analyse sliding-windows trained.yaml --with width=0.1 --with step=0.1 --out new", None),
    "decode": ("decode runs/semantic prepared --out new", None),
    "evaluate": ("evaluate new", "semantic"),
    "audit": (f"audit new {AUDIT}", "semantic"),
    "audit-atm": (f"audit new {AUDIT}", "atm"),
    "explain": ("explain new", "semantic"),
    "repeats": ("analyse repeats new", "trained"),
    "similarity": ("analyse similarity new", "semantic"),
    "report": ("report new", "semantic"),
}
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate"}
#: what tells of times, or lists in the order of writing
VOLATILE = {"provenance.json", "log.jsonl", "report.html", "SHA256SUMS"}
DATE = re.compile(rb"\d{4}-\d\d-\d\dT[0-9:.+]+")
OUT = Path(tempfile.mkdtemp()) / "said.txt"


def command(
    words: str,
    at: Callable[[int], None] | None = None,
    then: Callable[[int], None] | None = None,
    says: Path = OUT,
) -> tuple[int, str, int]:
    """The exit status, what it said, and the changes of files that it made; ``at`` is called before each of them, and
    ``then`` with the process, in this one."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        with says.open("w") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        changes, here = 0, os.getcwd()

        def heard(event: str, what: tuple) -> None:
            nonlocal changes
            writes = event == "open" and isinstance(what[2], int) and what[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if (event in CHANGES or writes) and not str(what[0]).startswith(("/dev", "/proc")):
                changes += 1
                if at is not None and os.getpid() == own and os.path.abspath(str(what[0])).startswith(here):
                    at(changes)

        own = os.getpid()
        sys.addaudithook(heard)
        sys.argv = ["phosphene", *words.split()]
        status = 99
        try:
            from phosphene.cli import main

            main()
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os.write(write, str(changes).encode())
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status or 0)
    os.close(write)
    if then is not None:
        then(child)
    _, status = os.waitpid(child, 0)
    with os.fdopen(read) as file:
        changes = file.read()
    return os.waitstatus_to_exitcode(status), says.read_text(errors="replace"), int(changes or 0)


def content(folder: Path, but: Collection[str] = VOLATILE) -> dict[str, str]:
    files = [p for p in folder.rglob("*") if p.is_file() and p.name not in but] if folder.is_dir() else []
    return {str(p.relative_to(folder)): hashlib.sha256(DATE.sub(b"", p.read_bytes())).hexdigest() for p in files}


def hidden() -> list[str]:
    return [str(p) for p in Path().rglob(".*")]


def begin(folder: Path, like: str | None) -> None:
    """As before the command; what is cached between runs is made anew too."""
    for old in (folder, Path("cache")):
        shutil.rmtree(old, ignore_errors=True)
    if like is not None:
        shutil.copytree(Path("runs") / like, folder)


def ready(folder: Path) -> None:
    """From now on in the folder, with a study and finished runs; all is loaded, since each command is a fork."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["PHOSPHENE_CACHE"] = str(folder.resolve() / "cache")
    os.chdir(folder)
    for module in ("diffusers", "transformers", "phosphene.audit", "phosphene.explain.diagnosis", "phosphene.api"):
        importlib.import_module(module)
    set_up()
    warm()


def set_up() -> None:
    if Path("runs/atm/report.html").is_file():
        return
    small_studies.write(Path())
    for name, text in RECIPES.items():
        Path(f"{name}.yaml").write_text(text)
    Path("two.yaml").write_text(GRID)
    names = ["a0", "a1", "b0", "b1"]
    Path("said.csv").write_text("stimulus,ObjectSnap\n" + "".join(f"{n},thing {n}\n" for n in names))
    for words in (
        f"simulate --out scenes {SCENES}",
        "prepare semantic.yaml --out prepared",
        *(f"run {name}.yaml --out runs/{name}" for name in RECIPES),
    ):
        begun = time.time()
        status, said, _ = command(words)
        print(f"{words}: {time.time() - begun:.1f} s", flush=True)
        if status not in (0, 1):
            sys.exit(f"{words}: {said[-500:]}")


def warm() -> None:
    """What each process computes once and keeps is computed here, for all of them."""
    from phosphene.runs.experiment import Experiment
    from phosphene.runs.scoring import score

    begin(Path("new"), "semantic")
    score(Experiment.open("new"))
    begin(Path("new"), None)


def stop(how: str, rng: random.Random, words: str, changes: int, took: float) -> tuple[int, str, int]:
    """The command, stopped once."""
    number = signal.SIGTERM if how == "term" else signal.SIGKILL
    if rng.random() < 0.5:
        last = rng.randint(1, changes)
        return command(words, at=lambda n: os.kill(os.getpid(), number) if n == last else None)

    def later(child: int) -> None:
        time.sleep(rng.uniform(0, took))
        os.kill(child, number)

    return command(words, then=later)


def filled(rng: random.Random, words: str, needs: int) -> tuple[int, str, int]:
    """The command, on a disk with less room than it needs."""
    room, ballast = shutil.disk_usage(".").free, Path("ballast")
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(room - int(needs * rng.random()), 1))
    try:
        return command(words)
    finally:
        ballast.unlink()


def paired(rng: random.Random, words: str, took: float) -> tuple[int, str, int]:
    """The command, and once more while it runs: what one of them said, which the other kept off."""
    others = []

    def beside(child: int) -> None:
        time.sleep(rng.uniform(0, took))
        others.append(command(words, says=OUT.with_suffix(".other")))

    first, (second,) = command(words, then=beside), others
    return first if first[0] == 2 else second


#: how it is done, the exit status that may follow, and what must be said then
TOLD = {"term": (130, "stopped"), "full": (2, "no space left"), "pairs": (2, "in use by another process")}


class Verb:
    """A command that is stopped in several ways, and what it leaves where it is not."""

    def __init__(self, name: str):
        self.name = name
        self.words, self.like = VERBS[name]
        self.folder, self.found = Path("new"), Counter()
        begin(self.folder, self.like)
        room, begun = shutil.disk_usage(".").used, time.time()
        self.status, said, self.changes = command(self.words)
        self.took, self.needs = time.time() - begun, max(shutil.disk_usage(".").used - room, 8_192)
        if self.status not in (0, 1):
            sys.exit(f"{name}: {said[-500:]}")
        self.wanted = content(self.folder)

    def fault(self, name: str, what: object) -> None:
        self.found[name] += 1
        print(f"{self.name}: {name}: {str(what)[-600:]}", flush=True)

    def tried(self, how: str, rng: random.Random) -> None:
        begin(self.folder, self.like)
        if how == "full":
            status, said, _ = filled(rng, self.words, self.needs)
        elif how == "pairs":
            status, said, _ = paired(rng, self.words, self.took)
        else:
            status, said, _ = stop(how, rng, self.words, self.changes, self.took)
        self.found[f"status {status}"] += 1
        code, line = TOLD.get(how, (None, None))
        if "Traceback" in said or (line is not None and (status == code) != (line in said.lower())):
            self.fault("UNTOLD", said)
        self.found["left hidden"] += bool(hidden())
        again, said, _ = command(self.words)
        if again != self.status:
            self.fault("REFUSED", said)
        if (now := content(self.folder)) != self.wanted:
            self.fault("LOST OR CHANGED", sorted(k for k in now | self.wanted if now.get(k) != self.wanted.get(k))[:6])
        if left := hidden():
            self.fault("STILL HIDDEN", left[:4])
            for name in left:
                shutil.rmtree(name) if Path(name).is_dir() else Path(name).unlink(missing_ok=True)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("folder", type=Path)
    asked.add_argument("--how", choices=["kill", "term", "full", "pairs"], default="kill")
    asked.add_argument("--n", type=int, default=20)
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("verbs", nargs="*")
    given = asked.parse_intermixed_args()
    if unknown := {*given.verbs} - {*VERBS}:
        asked.error(f"unknown verbs {unknown}: take some of {list(VERBS)}")
    ready(given.folder)
    rng, total = random.Random(given.seed), Counter()
    for name in given.verbs or VERBS:
        verb = Verb(name)
        for _ in range(given.n):
            verb.tried(given.how, rng)
        begin(verb.folder, None)
        print(f"{name}: {verb.took:.1f} s, {verb.changes} changes; {dict(verb.found)}", flush=True)
        total += verb.found
    print(f"all: {dict(total)}")


if __name__ == "__main__":
    main()
