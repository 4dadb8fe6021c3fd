"""A whole simulated study on disk: pictures, tables, and continuous recordings, so that work starts where a lab's does.

A concept is a coloured object ("red car"), 480 in all. Forty are kept for the test, four of each colour and no object
twice, so that every object and every colour of the test also occurs in training but no combination does: test concepts
are disjoint from training concepts, as in THINGS-EEG2. No two test pictures show the same scene.
Training and test pictures are intermixed at random within every run: slow drift cannot separate them.

That is the design "rapid". Three others are flawed on purpose, to try the audit on: "block" shows each of the forty
concepts in one stretch, training and test pictures together, while every channel's gain changes slowly; "drift" is the
same without any response, and "phantom" the same without a brain. Their pictures have a `category`, for the audit.

```
out/
  dataset.json   stimuli.csv   stimuli/training_images/train-0001.png ...   stimuli/test_images/test-0001.png ...
  sub-01/ses-01/eeg/sub-01_ses-01_task-view_run-01_raw.fif     annotations: description = stimulus
  sub-01/ses-01/eeg/sub-01_ses-01_task-view_run-01_events.tsv  onset (s), duration (s), stimulus, concept, ...
```

With ``fmt="brainvision"`` the recordings and their tables are BIDS instead, the rest is the same.
"""

import inspect
import json
import math
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd

import phosphene
from phosphene.errors import PhospheneError, nearest
from phosphene.simulate import bids
from phosphene.simulate.brain import CHANNELS, DEFAULT_SNR_DB, RESPONSE, Brain, Drawn, check
from phosphene.simulate.cortex import BRAINS
from phosphene.simulate.designs import DESIGNS, Design, block, gain, phantom, rapid
from phosphene.simulate.drawings import KINDS
from phosphene.simulate.scenes import BACKGROUNDS, COLOURS, POSITIONS, SEEN, SIZE, Scene, draw_with_mask, vary
from phosphene.utils.files import read_json, whole
from phosphene.utils.paths import has_room

SIMULATOR = 4  # raised when the same parameters no longer give the same data
FORMATS = ("fif", "brainvision")
DURATION = 0.1  # s that a picture is shown
N_TEST_CONCEPTS = 40
SILENT = -200.0  # dB, where nothing of a response is left
_RUN = 480.0  # s, about the length of a run
_PAUSE = 10.0  # s between two blocks
_FOLDERS = {"train": "training_images", "test": "test_images"}

_LATER = {"design": "rapid", "regions": "whole"}  # arguments that studies of before lack, and what they meant

Progress = Callable[[int, int, str], None]  # (done, total, what)


def simulate(
    out: str | Path,
    *,
    n_subjects: int = 1,
    n_sessions: int = 1,
    n_train_pictures: int = 1200,
    n_test_pictures: int = 200,
    train_repeats: int = 2,
    test_repeats: int = 10,
    snr_db: float = DEFAULT_SNR_DB,
    sfreq: float = 250.0,
    soa: float = 0.4,
    size: int = SIZE,
    seed: int = 0,
    fmt: str = "fif",
    design: str = "rapid",
    regions: str = "whole",
    progress: Progress | None = None,
) -> Path:
    """Simulate a study and write it to the folder `out`, which appears whole or not at all.

    The same arguments give the same pictures, tables and EEG. If `out` already holds the study of these very
    arguments it is kept and returned at once.

    Parameters
    ----------
    n_subjects, n_sessions : subjects, and sessions of each.
    n_train_pictures, n_test_pictures : different pictures of each split; all subjects see the same.
    train_repeats, test_repeats : how often each is shown to a subject, over all sessions together.
    snr_db : single-trial signal-to-noise ratio as `Brain` defines it, dB.
    sfreq : sampling rate, Hz.
    soa : time from picture to picture, s.
    size : height and width of the pictures, pixels.
    fmt : "fif", or "brainvision" for a BIDS dataset (needs `pip install 'phosphene[bids]'`).
    design : "rapid", "block", "drift" or "phantom": see above.
    regions : which parts of the brain respond, and where, as `Brain` has it.
    progress : called with (steps done, steps in all, what is being done).

    Raises
    ------
    PhospheneError
        For an argument out of range, an `out` that holds something else, a missing extra or a full disk.
    """
    given = locals()
    parameters = {k: given[k] for k in inspect.signature(simulate).parameters if k not in ("out", "progress")}
    made = _check(parameters)
    out = Path(out)
    if holds(out, parameters):
        return out
    if fmt == "brainvision":
        bids.require()
    has_room(out)
    stimuli = choose_stimuli(n_train_pictures, n_test_pictures, seed=seed, blocks=made.order == "block")
    scenes = scenes_of(stimuli)
    subjects = [f"{i:02d}" for i in range(1, n_subjects + 1)]
    plans = {
        (subject, f"{session:02d}"): plan
        for subject in subjects
        for session, plan in enumerate(plan_sessions(stimuli, subject, parameters), start=1)
    }
    total = 1 + sum(plan["run"].nunique() for plan in plans.values())
    done = 0

    def step(what: str, n: int = 1) -> None:
        nonlocal done
        done += n
        if progress is not None:
            progress(done, total, what)

    with whole(out) as part:
        part.mkdir()
        step("drawing pictures", 0)
        drawn = [draw_with_mask(scene, size) for scene in scenes]
        _write_stimuli(part, stimuli, drawn)
        step("drawing pictures")
        recordings, truth = [], {}
        for subject in subjects:
            brain = Brain(subject, seed=seed, snr_db=snr_db if made.signal else SILENT, sfreq=sfreq, regions=regions)
            truth[subject] = brain.truth() if made.brain else []
            evoked = brain.evoked(scenes, drawn)
            rows = {name: i for i, name in enumerate(stimuli.index)}
            for (owner, session), plan in plans.items():
                if owner != subject:
                    continue
                for run, events in plan.groupby("run"):
                    entities = {"subject": subject, "session": session, "run": f"{run:02d}"}
                    raw = _record(brain, made, evoked, events, rows, entities)
                    path = (bids.write if fmt == "brainvision" else _write_fif)(part, raw, events, entities)
                    recordings.append({**entities, "path": path.as_posix()})
                    step(f"recording subject {subject}, session {session}, run {run}")
        facts = {
            "name": "Phosphene simulated viewing",
            "simulated": True,
            "simulator": SIMULATOR,
            "phosphene": phosphene.__version__,
            "parameters": parameters,
            "ch_names": list(CHANNELS),
            "recordings": recordings,
            "truth": truth,
        }
        if made.order != "rapid":
            facts["design"] = made.order
        (part / "dataset.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")
        if fmt == "brainvision":
            bids.finish(part)
    return out


def choose_stimuli(n_train: int = 1200, n_test: int = 200, *, seed: int = 0, blocks: bool = False) -> pd.DataFrame:
    """The pictures of a study: a table indexed by `stimulus`, with the columns of `stimuli.csv`.

    Backgrounds and positions are balanced within and across concepts as far as the numbers allow; light, pattern and
    companion are drawn at random. With `blocks` training shows the concepts of the test, and no others.
    """
    rng = np.random.default_rng([seed, 2])
    objects, colours = rng.permutation(SEEN), rng.permutation(list(COLOURS))
    test = [(str(objects[i]), str(colours[i % len(colours)])) for i in range(N_TEST_CONCEPTS)]
    train = test if blocks else [(o, c) for o in SEEN for c in COLOURS if (o, c) not in set(test)]
    rows = []
    for split, concepts, n in (("train", train, n_train), ("test", test, n_test)):
        order = rng.permutation(len(concepts))
        starts = rng.permutation(len(concepts)) % (len(BACKGROUNDS) * len(POSITIONS))
        for i in range(n):
            concept, nth = order[i % len(concepts)], i // len(concepts)
            p, b = divmod(int(starts[concept]), len(BACKGROUNDS))
            turn, step = divmod(nth, len(BACKGROUNDS))
            b, p = (b + step) % len(BACKGROUNDS), (p + step + turn) % len(POSITIONS)
            thing, colour = concepts[concept]
            scene = vary(Scene(thing, colour, BACKGROUNDS[b], POSITIONS[p], int(rng.integers(2**31))), rng)
            name = f"{split}-{i + 1:0{max(4, len(str(n)))}d}"
            rows.append(
                {
                    "stimulus": name,
                    "image": f"stimuli/{_FOLDERS[split]}/{name}.png",
                    "concept": scene.concept,
                    "split": split,
                    **asdict(scene),
                    "prompt": scene.prompt,
                    **scene.captions,
                }
            )
    table = pd.DataFrame(rows).set_index("stimulus")
    return table.assign(category=table["object"].map(category_of)) if blocks else table


def category_of(thing: str) -> str:
    """ "living" or "not living", of an object."""
    return "living" if KINDS[thing] in ("an animal", "a plant") else "not living"


def scenes_of(stimuli: pd.DataFrame) -> list[Scene]:
    """The scenes of a table of stimuli, as `choose_stimuli` makes it or `stimuli.csv` holds it."""
    columns = [field.name for field in fields(Scene)]
    return [Scene(**row) for row in stimuli[columns].to_dict("records")]


def plan_sessions(stimuli: pd.DataFrame, subject: str, parameters: dict[str, Any]) -> list[pd.DataFrame]:
    """The event table of each session of one subject; onsets lie on samples. `parameters` are those of `simulate`."""
    p = parameters
    repeats = stimuli["split"].map({"train": p["train_repeats"], "test": p["test_repeats"]})
    rng = np.random.default_rng([p["seed"], 3, int(subject)])
    plan = _in_blocks if DESIGNS[p.get("design", "rapid")].order == "block" else _intermixed
    sessions = plan(np.repeat(stimuli.index.to_numpy(), repeats), stimuli["concept"], rng, subject, p)
    shown = pd.concat(sessions).groupby("stimulus").cumcount().to_numpy() + 1
    first = 0
    for table in sessions:
        table["onset"] = (np.round(table["onset"] * p["sfreq"]) / p["sfreq"]).round(6)
        table["duration"] = DURATION
        table["repeat"] = shown[first : first + len(table)]
        table["concept"], table["split"] = (
            stimuli[c].reindex(table["stimulus"]).to_numpy() for c in ("concept", "split")
        )
        table["image"] = stimuli["image"].reindex(table["stimulus"]).to_numpy()
        table["code"] = stimuli.index.get_indexer(table["stimulus"]) + 1
        first += len(table)
    columns = ["onset", "duration", "stimulus", "concept", "split", "repeat", "block", "run", "image", "code"]
    return [table[columns] for table in sessions]


def _intermixed(
    shown: np.ndarray, concept: pd.Series, rng: np.random.Generator, subject: str, p: dict[str, Any]
) -> list[pd.DataFrame]:
    """The presentations ``shown`` (n,) at random over the sessions."""
    sessions = []
    for i, chunk in enumerate(np.array_split(rng.permutation(shown), p["n_sessions"])):
        n_runs = math.ceil(len(chunk) * p["soa"] / _RUN)
        jitter = min(0.02, p["soa"] / 4)
        table = rapid(chunk.tolist(), soa=p["soa"], jitter=jitter, n_runs=n_runs, seed=[p["seed"], 4, int(subject), i])
        sessions.append(table)
    return sessions


def _in_blocks(
    shown: np.ndarray, concept: pd.Series, rng: np.random.Generator, subject: str, p: dict[str, Any]
) -> list[pd.DataFrame]:
    """The presentations ``shown`` (n,), all of a concept in one stretch of one session."""
    of, sessions = concept[shown].to_numpy(str), []
    for i, chunk in enumerate(np.array_split(rng.permutation(np.unique(of)), p["n_sessions"])):
        here = np.isin(of, chunk)
        n_runs = min(len(chunk), math.ceil((here.sum() * p["soa"] + len(chunk) * _PAUSE) / _RUN))
        seed = [p["seed"], 4, int(subject), i]
        sessions.append(block(list(shown[here]), list(of[here]), soa=p["soa"], n_runs=n_runs, pause=_PAUSE, seed=seed))
    return sessions


def _record(
    brain: Brain, made: Design, evoked: np.ndarray, events: pd.DataFrame, rows: dict[str, int], entities: dict[str, str]
) -> mne.io.RawArray:
    samples = np.round(events["onset"].to_numpy() * brain.sfreq).astype(int)
    n_times = int(samples[-1] + (RESPONSE + 1.5) * brain.sfreq)
    which = np.array([rows[name] for name in events["stimulus"]])
    rng = np.random.default_rng([brain.seed, 5, *(int(entities[name]) for name in ("subject", "session", "run"))])
    if made.brain:
        data = brain.record(evoked, which, samples, n_times, session=entities["session"], run=entities["run"])
    else:
        data = phantom(rng, len(CHANNELS), n_times, brain.sfreq)
    if made.state:
        data *= gain(rng, len(CHANNELS), n_times, brain.sfreq, made.state)
    raw = brain.to_raw(data)
    onsets, durations = events["onset"].to_numpy(), events["duration"].to_numpy()
    raw.set_annotations(mne.Annotations(onsets, durations, events["stimulus"].to_list()), verbose="error")
    raw.info["line_freq"] = 50.0
    raw.info["subject_info"] = {"his_id": f"sub-{entities['subject']}"}
    return raw


def _write_fif(root: Path, raw: mne.io.RawArray, events: pd.DataFrame, entities: dict[str, str]) -> Path:
    """Write one run; returns its path relative to `root`."""
    folder = Path(f"sub-{entities['subject']}", f"ses-{entities['session']}", "eeg")
    stem = f"sub-{entities['subject']}_ses-{entities['session']}_task-view_run-{entities['run']}"
    (root / folder).mkdir(parents=True, exist_ok=True)
    raw.save(root / folder / f"{stem}_raw.fif", fmt="single", verbose="error")
    events.drop(columns=["run", "image", "code"]).to_csv(root / folder / f"{stem}_events.tsv", sep="\t", index=False)
    return folder / f"{stem}_raw.fif"


def _write_stimuli(root: Path, stimuli: pd.DataFrame, drawn: Drawn) -> None:
    for folder in _FOLDERS.values():
        (root / "stimuli" / folder).mkdir(parents=True)
    for image, (picture, _) in zip(stimuli["image"], drawn, strict=True):
        picture.save(root / image)
    stimuli.to_csv(root / "stimuli.csv")


def _check(p: dict[str, Any]) -> Design:
    """Refuse what cannot be simulated; numbers become plain ints and floats, as JSON knows them."""
    if p["design"] not in DESIGNS:
        raise PhospheneError(f"unknown design '{p['design']}': {nearest(p['design'], DESIGNS)}")
    made = DESIGNS[p["design"]]
    if made.order == "rapid":  # as it was before there were others: not named, and its gain does not change
        made = replace(made, state=0.0)
        del p["design"]
    if p["fmt"] not in FORMATS:
        raise PhospheneError(f"unknown format '{p['fmt']}': {nearest(p['fmt'], FORMATS)}")
    if p["regions"] not in BRAINS:
        raise PhospheneError(f"unknown regions '{p['regions']}': {nearest(p['regions'], BRAINS)}")
    most = N_TEST_CONCEPTS * len(BACKGROUNDS) * len(POSITIONS)
    limits = {
        "n_subjects": (1, 99),
        "n_sessions": (1, 99),
        "n_train_pictures": (1, 99999),
        "n_test_pictures": (1, most),
        "train_repeats": (1, 999),
        "test_repeats": (1, 999),
        "size": (16, 1024),
        "seed": (0, 2**31),
    }
    check_numbers(p, limits, p["sfreq"])
    p.update({name: float(p[name]) for name in ("sfreq", "soa")})
    if not 0.1 <= p["soa"] <= 60:
        raise PhospheneError(f"soa is {p['soa']} s: give 0.1 to 60 seconds")
    shown = p["n_train_pictures"] * p["train_repeats"] + p["n_test_pictures"] * p["test_repeats"]
    if shown < p["n_sessions"]:
        raise PhospheneError(f"n_sessions is {p['n_sessions']} for {shown} presentations: ask for fewer sessions")
    if made.order == "block":
        if p["n_sessions"] > N_TEST_CONCEPTS:
            raise PhospheneError(
                f"n_sessions is {p['n_sessions']} for {N_TEST_CONCEPTS} blocks: ask for fewer sessions"
            )
        if p["n_train_pictures"] < N_TEST_CONCEPTS:
            raise PhospheneError(f"n_train_pictures is {p['n_train_pictures']}: give one at least to each of 40 blocks")
    return made


def check_numbers(p: dict[str, Any], limits: dict[str, tuple[int, int]], sfreq: float) -> None:
    """Refuse whole numbers of ``p`` outside their (least, top), and a ratio that cannot be simulated."""
    for name, (least, top) in limits.items():
        if not least <= p[name] <= top or int(p[name]) != p[name]:
            raise PhospheneError(f"{name} is {p[name]}: give a whole number from {least} to {top}")
        p[name] = int(p[name])
    check(p["snr_db"], sfreq)
    if not p["snr_db"] >= SILENT:
        raise PhospheneError(f"snr_db is {p['snr_db']}: give at least -200, where nothing of the response is left")
    p["snr_db"] = float(p["snr_db"])


def holds(out: Path, parameters: dict[str, Any]) -> bool:
    """Whether `out` already is this study; refuses anything else that is there."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if (out / "dataset.json").is_file():
        facts = read_json(out / "dataset.json")
        stored = {k: v for k, v in _LATER.items() if k in parameters} | facts.get("parameters", {})
        same = facts.get("simulator") == SIMULATOR and stored == parameters
        paths = facts["files"] if "files" in facts else [recording["path"] for recording in facts["recordings"]]
        if same and all((out / path).is_file() for path in paths):
            return True
        raise PhospheneError(f"{out} holds another simulated study: choose another --out, or remove that folder")
    raise PhospheneError(f"{out} exists and is not a simulated study: choose another --out")
