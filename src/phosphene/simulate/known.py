"""Studies made in memory in about a second, of which it is known what can be decoded and why, to try the audit on.

The brain and its background are those of `phosphene.simulate.brain`; the faults, their sizes and the shapes of the
studies are ours: many classes of pictures shown once (`known_trials`, in the layout of EEGCVPR40 where blocks are asked
for), or a few pictures shown again and again in several runs (`few_trials`), as with houses and faces or gratings.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy.signal import butter, sosfilt

from phosphene.eeg.trials import Signal, Trials
from phosphene.errors import PhospheneError, nearest
from phosphene.simulate import designs
from phosphene.simulate.brain import CHANNELS, Brain
from phosphene.simulate.content import Content, describe
from phosphene.simulate.designs import Design, block, gain, phantom, rapid
from phosphene.simulate.scenes import BACKGROUNDS, COLOURS, POSITIONS, SEEN, Scene, draw_with_mask, vary
from phosphene.simulate.study import category_of

SFREQ, SOA, TMIN, TMAX = 100.0, 0.5, -0.1, 0.5
HIGH_PASS = 0.5  # Hz, as in the field's preprocessing: slow offsets go, slow states stay. Causal, as the audit asks


DESIGNS: dict[str, Design] = {
    "rapid": designs.DESIGNS["rapid"],
    "rapid-silent": Design("rapid", signal=False, state=0.3, sound=True),
    "block": designs.DESIGNS["block"],
    "block-silent": designs.DESIGNS["drift"],
    "phantom": designs.DESIGNS["phantom"],
    "spectral": Design("rapid", signal=False, state=0.3, sound=False, leak="spectral"),
    "offset": Design("rapid", signal=False, state=0.3, sound=False, leak="offset"),
    "early": Design("rapid", signal=False, state=0.3, sound=False, leak="early"),
    "cycle": Design("cycle", signal=True, state=0.3, sound=False),
    "shared": Design("rapid", signal=True, state=0.3, sound=False),
}
#: of studies of a few pictures; "block-apart" keeps whole runs apart, "order" shows the same list in every run, and in
#: "shared" the pictures of a class are said to be new in the test and are not
FEW_DESIGNS: dict[str, Design] = {
    **{name: DESIGNS[name] for name in ("rapid", "rapid-silent", "block-silent", "spectral", "offset", "early")},
    "block-apart": Design("block", signal=False, state=0.3, sound=True),
    "order": Design("order", signal=True, state=0.3, sound=False),
    "cycle": DESIGNS["cycle"],
    "shared": DESIGNS["shared"],
}


def known_trials(
    design: str,
    *,
    seed: int = 0,
    n_classes: int = 40,
    per_class: int = 15,
    snr_db: float = -5.0,
    leak: float = 0.3,
) -> Trials:
    """Trials of one subject in one of `DESIGNS`.

    Parameters
    ----------
    design : a name in `DESIGNS`.
    seed : subject, order and noise depend on it; the pictures do not.
    n_classes, per_class : classes (kinds of thing), and pictures of each; a fifth of each class is for the test.
    snr_db : single-trial signal-to-noise ratio, as `Brain` has it.
    leak : of the designs with one: SD over classes and channels, in log power halves, or in SDs of a channel.

    Returns
    -------
    63 channels at 100 Hz from -0.1 to 0.5 s, high-pass filtered at 0.5 Hz; the stimuli have a column `category` (living
    or not).
    """
    if design not in DESIGNS:
        raise PhospheneError(f"unknown design '{design}': {nearest(design, DESIGNS)}")
    if not 2 <= n_classes <= len(SEEN) or per_class < 5:
        raise PhospheneError(
            f"a study has 2 to {len(SEEN)} classes of at least 5 pictures: change n_classes, per_class"
        )
    made = DESIGNS[design]
    stimuli, content = _pictures(n_classes, per_class)
    names, classes = list(stimuli.index), list(stimuli["concept"])
    if made.order == "block":
        events = block(names, classes, seed=[seed, 32], soa=SOA, n_runs=1)
    elif made.order == "cycle":  # one class after the other, again and again
        rng = np.random.default_rng([seed, 32])
        rank = stimuli.groupby("concept").cumcount().to_numpy()
        place = pd.factorize(stimuli["concept"])[0]
        order = np.lexsort((rng.permutation(n_classes)[place], rng.permutation(per_class)[rank]))
        events = _timed([np.array(names)[order]], rng)
    else:
        events = rapid(names, seed=[seed, 32], soa=SOA)
    split = stimuli["split"].reindex(events["stimulus"]).to_numpy()
    if design == "shared":  # a quarter of the test trials show a picture of the training
        again = np.flatnonzero(split == "test")[::4]
        of = stimuli["concept"].reindex(events["stimulus"]).to_numpy()
        first = stimuli[stimuli["split"] == "train"].reset_index().groupby("concept")["stimulus"].first()
        events.loc[again, "stimulus"] = first[of[again]].to_numpy()
    return _recorded(made, events, split, stimuli, content, seed, snr_db, leak)


def few_trials(
    design: str,
    *,
    seed: int = 0,
    n_pictures: int = 2,
    n_runs: int = 4,
    per_run: int = 64,
    snr_db: float = -5.0,
    leak: float = 0.3,
) -> Trials:
    """Trials of one subject who sees the same few pictures in every run, in one of `FEW_DESIGNS`.

    Runs are to be left out in turn; in "block-silent" and "shared" the column `split` says what is tested.

    Parameters
    ----------
    n_pictures : each is a class of its own (of "shared", a class of six pictures).
    n_runs, per_run : runs, and about how many trials each has.
    design, seed, snr_db, leak : as for `known_trials`.
    """
    if design not in FEW_DESIGNS:
        raise PhospheneError(f"unknown design '{design}': {nearest(design, FEW_DESIGNS)}")
    if not 2 <= n_pictures <= len(SEEN):
        raise PhospheneError(f"a study has 2 to {len(SEEN)} pictures: change n_pictures")
    made = FEW_DESIGNS[design]
    rng = np.random.default_rng([seed, 33])
    stimuli, content = _pictures(n_pictures, 6 if design == "shared" else 1)
    names, times = np.array(stimuli.index), max(1, round(per_run / len(stimuli)))
    lists, block = [], 1
    for _ in range(n_runs):
        if made.order == "block":  # two blocks of each picture in a run, in random order
            block = max(2, times // 2)
            order = np.repeat(rng.permutation(np.tile(np.arange(len(names)), 2)), block)
        elif made.order == "cycle":
            order = np.tile(np.random.default_rng([seed, 34]).permutation(len(names)), times)
        else:
            order = rng.permutation(np.tile(np.arange(len(names)), times))
        lists.append(names[order])
    if made.order == "order":
        lists = lists[:1] * n_runs
    events = _timed(lists, rng, block)
    split = np.where(rng.permutation(len(events)) % 5 == 0, "test", "train")
    if design == "shared":  # the last two pictures of a class are for the test, and a quarter of it shows others
        new = stimuli.groupby("concept").cumcount()[events["stimulus"]].to_numpy() >= 4
        split = np.where(new | (rng.random(len(events)) < 0.15), "test", "train")
    return _recorded(made, events, split, stimuli, content, seed, snr_db, leak)


def _timed(lists: Sequence[np.ndarray], rng: np.random.Generator, block: int = 1) -> pd.DataFrame:
    """The events of runs that show these pictures one after the other, with the jitter of `rapid`.

    Of ``block`` trials each is a block, and 5 s lie between two blocks.
    """
    parts = []
    for run, shown in enumerate(lists, start=1):
        place = np.arange(len(shown)) // block if block > 1 else np.zeros(len(shown), int)
        gaps = SOA + rng.uniform(-0.02, 0.02, size=len(shown)) + 5.0 * (np.diff(place, prepend=0) > 0)
        onset = 2.0 + np.cumsum(gaps)
        parts.append(pd.DataFrame({"onset": onset, "stimulus": shown, "block": 1000 * run + place, "run": run}))
    return pd.concat(parts, ignore_index=True)


def _recorded(
    made: Design,
    events: pd.DataFrame,
    split: np.ndarray,
    stimuli: pd.DataFrame,
    content: Content,
    seed: int,
    snr_db: float,
    leak: float,
) -> Trials:
    """The trials of a subject to whom these events were shown; every run is a recording of its own."""
    rng = np.random.default_rng([seed, 31])
    brain = Brain(seed, snr_db=snr_db if made.signal else -200.0, sfreq=SFREQ)
    evoked = brain._evoke(brain._code(content)) if made.brain else None
    first, length = round(TMIN * SFREQ), round((TMAX - TMIN) * SFREQ)
    parts = []
    for _, run in events.groupby("run", sort=True):
        samples = np.round(run["onset"].to_numpy() * SFREQ).astype(int)
        n_times = int(samples[-1] + 2 * SFREQ)
        if evoked is not None:
            rows = stimuli.index.get_indexer(run["stimulus"])
            data = brain.record(evoked, rows, samples, n_times).astype(np.float64)
        else:
            data = phantom(rng, len(CHANNELS), n_times, SFREQ)
        data *= gain(rng, len(CHANNELS), n_times, SFREQ, made.state)
        data = sosfilt(butter(2, HIGH_PASS, "highpass", fs=SFREQ, output="sos"), data, axis=1)
        parts.append(np.stack([data[:, s + first : s + first + length] for s in samples]))
    eeg = np.concatenate(parts)
    concept = stimuli["concept"].reindex(events["stimulus"]).to_numpy()
    if made.leak:
        names, which = np.unique(concept, return_inverse=True)
        mark = leak * rng.standard_normal((len(names), len(CHANNELS), 1))[which]
        size = eeg.std(axis=(0, 2), keepdims=True)
        if made.leak == "spectral":
            eeg *= np.exp(mark)
        else:
            eeg[:, :, : -first if made.leak == "early" else length] += mark * size
    table = events.assign(subject=f"{seed:02d}", concept=concept, split=split)
    table["block"] = table["block"].astype(str)
    table["run"] = table["run"].astype(str)
    return Trials(eeg.astype(np.float32), table, stimuli, Signal(tuple(CHANNELS), SFREQ, TMIN))


@lru_cache(maxsize=4)
def _pictures(n_classes: int, per_class: int) -> tuple[pd.DataFrame, Content]:
    """The stimuli, every fifth of a class for the test, and what is in them."""
    rng = np.random.default_rng(41)
    rows, scenes = [], []
    for thing in SEEN[:n_classes]:
        for i in range(per_class):
            colour, ground = str(rng.choice(list(COLOURS))), str(rng.choice(list(BACKGROUNDS)))
            scene = vary(Scene(thing, colour, ground, str(rng.choice(list(POSITIONS))), int(rng.integers(2**31))), rng)
            scenes.append(scene)
            rows.append(
                {
                    "stimulus": f"{thing}-{i:03d}",
                    "concept": thing,
                    "category": category_of(thing),
                    "split": "test" if i % 5 == 4 else "train",
                }
            )
    return pd.DataFrame(rows).set_index("stimulus"), describe(scenes, [draw_with_mask(s, 64) for s in scenes])
