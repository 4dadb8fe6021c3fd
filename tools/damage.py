"""Damages every kind of file that Phosphene keeps, and looks whether it says so.

    python tools/damage.py FOLDER --n 20 --seed 0

FOLDER is one of `tools/stops.py`, or becomes one. Each kind of file has ``n`` random bits flipped and is cut off at
``n`` random places, one after the other; after each, a command that may read it is given. It must name the file in one
line, or make it again and say so, or leave every number as it was.
"""

import argparse
import random
import shutil
import sys
from collections import Counter
from pathlib import Path

from stops import AUDIT, command, content, ready

DECODE = "decode {0} prepared --out dec"
#: what is kept, and the commands that may read it
KEPT = {
    "runs/trained": ["evaluate {0}", "report {0}", "analyse repeats {0}", "run trained.yaml --out {0}"],
    "runs/semantic": [DECODE, "report {0}", "explain {0}", "evaluate {0}"],
    "runs/atm": [DECODE, "report {0}"],
    "runs/asked": [f"audit {{0}} {AUDIT}", "explain {0}", "report {0}", DECODE],
    "prepared": ["decode runs/semantic {0} --out dec"],
    "cache": ["run semantic.yaml --out dec"],
}
GOING_ON = {"runs/trained": ["run trained.yaml --out {0}"], "runs/atm": ["run atm.yaml --out {0}"]}


def kinds(base: Path) -> dict[str, Path]:
    """A file of each kind: pictures and cached vectors are alike, other files are told apart by name and folder."""
    found: dict[str, Path] = {}
    for path in sorted(p for p in base.rglob("*") if p.is_file() and p.suffix != ".html" and p.name != "SHA256SUMS"):
        name = f"*{path.suffix}" if path.suffix == ".png" or base.name == "cache" else path.name
        found.setdefault(f"{path.parent.name}/{name}", path)
    return found


def begin(base: Path, unfinished: bool) -> Path:
    """Where the base, or its copy, lies whole; ``unfinished``: as if stopped at its last checkpoint."""
    shutil.rmtree("dec", ignore_errors=True)
    if base.parent.name != "runs":
        return base
    shutil.rmtree("new", ignore_errors=True)
    shutil.copytree(base, "new")
    if unfinished:
        for done in (*Path("new").glob("folds/*/model"), *Path("new").glob("folds/*/decoded")):
            shutil.rmtree(done)
    return Path("new")


def numbers(folder: Path) -> dict[str, str]:
    """What is compared: everything in the folder, and what was decoded."""
    both = {place: content(place, but={"SHA256SUMS", "provenance.json"}) for place in (folder, Path("dec"))}
    return {str(place / name): value for place, files in both.items() for name, value in files.items()}


def outcome(words: str, damaged: Path, wanted: dict[str, str]) -> str:
    status, heard, _ = command(words)
    told = damaged.name in heard
    if "Traceback" in heard:
        found = "TRACEBACK"
    elif status == 2:
        found = "told" if told else "TOLD WITHOUT THE NAME"
    elif told and "again" in heard:
        found = "told and made again"
    else:
        now = numbers(Path(damaged.parts[0]))
        lost = [name for name in wanted if now.get(name) != wanted[name] and name != str(damaged)]
        heard, found = f"{heard}\n{lost[:5]}", "SILENT" if lost else "no number changed"
    if found.isupper():
        print(f"{found}: {words}, {damaged}: {heard[-500:]}", flush=True)
    return found


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("folder", type=Path)
    asked.add_argument("--n", type=int, default=20)
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--only", default="", help="Kinds whose name holds this.")
    given = asked.parse_args()
    ready(given.folder)
    if not Path("runs/asked").is_dir():
        shutil.copytree("runs/semantic", "runs/asked")
        for words in (f"audit runs/asked {AUDIT}", "explain runs/asked", "analyse similarity runs/asked"):
            command(words)
    rng, total, n_kinds = random.Random(given.seed), Counter(), 0
    jobs = [(name, words, False) for name, words in KEPT.items()]
    jobs += [(name, words, True) for name, words in GOING_ON.items()]
    for name, commands, unfinished in jobs:
        base, wanted = Path(name), {}
        for each in commands:  # without damage
            folder = begin(base, unfinished)
            status, heard, _ = command(each.format(folder))
            if status not in (0, 1):
                sys.exit(f"{each}: {heard[-400:]}")
            wanted[each] = numbers(folder)
        for kind, path in kinds(base).items():
            if given.only not in f"{name} {kind}" or unfinished != ("checkpoints" in str(path)):
                continue
            found, good = Counter(), path.read_bytes()
            for i in range(2 * given.n):
                damaged = begin(base, unfinished) / path.relative_to(base)
                bad = bytearray(good)
                if i < given.n and bad:
                    bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
                elif bad:
                    del bad[rng.randrange(len(bad)) :]
                damaged.write_bytes(bytes(bad))
                each = commands[i % len(commands)]
                found[outcome(each.format(*damaged.parts[:1]), damaged, wanted[each])] += 1
                damaged.write_bytes(good)
            print(f"{name} {kind}: {dict(found)}", flush=True)
            total, n_kinds = total + found, n_kinds + 1
    print(f"{n_kinds} kinds: {dict(total)}")


if __name__ == "__main__":
    main()
