"""Studies made in memory in about a second, of which it is known what can be decoded and why, to try the audit on.

The brain and its background are those of `phosphene.simulate.brain`; the faults, their sizes and the shape of the study
(classes of things, pictures of each, shown once) are ours, in the layout of EEGCVPR40 where blocks are asked for.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
from scipy.signal import butter, sosfilt

from phosphene.errors import PhospheneError, nearest
from phosphene.simulate import designs
from phosphene.simulate.brain import CHANNELS, Brain
from phosphene.simulate.content import Content, describe
from phosphene.simulate.designs import Design, block, gain, phantom, rapid
from phosphene.simulate.scenes import BACKGROUNDS, COLOURS, POSITIONS, SEEN, Scene, draw_with_mask, vary
from phosphene.simulate.study import category_of
from phosphene.trials import Signal, Trials

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
}


def known_trials(
    design: str, *, seed: int = 0, n_classes: int = 40, per_class: int = 15, snr_db: float = -5.0, leak: float = 0.3,
) -> Trials:  # fmt: skip
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
    rng = np.random.default_rng([seed, 31])
    stimuli, content = _pictures(n_classes, per_class)
    if made.order == "block":
        events = block(list(stimuli.index), list(stimuli["concept"]), seed=[seed, 32], soa=SOA, n_runs=1)
    else:
        events = rapid(list(stimuli.index), seed=[seed, 32], soa=SOA)
    brain = Brain(seed, snr_db=snr_db if made.signal else -200.0, sfreq=SFREQ)
    samples = np.round(events["onset"].to_numpy() * SFREQ).astype(int)
    n_times = int(samples[-1] + 2 * SFREQ)
    if made.brain:
        rows = stimuli.index.get_indexer(events["stimulus"])
        evoked = brain._evoke(brain._code(content))
        data = brain.record(evoked, rows, samples, n_times).astype(np.float64)
    else:
        data = phantom(rng, len(CHANNELS), n_times, SFREQ)
    data *= gain(rng, len(CHANNELS), n_times, SFREQ, made.state)
    data = sosfilt(butter(2, HIGH_PASS, "highpass", fs=SFREQ, output="sos"), data, axis=1)
    first, length = round(TMIN * SFREQ), round((TMAX - TMIN) * SFREQ)
    eeg = np.stack([data[:, s + first : s + first + length] for s in samples])
    concept = stimuli["concept"].reindex(events["stimulus"]).to_numpy()
    if made.leak:
        names, which = np.unique(concept, return_inverse=True)
        mark = leak * rng.standard_normal((len(names), len(CHANNELS), 1))[which]
        eeg = eeg * np.exp(mark) if made.leak == "spectral" else eeg + mark * eeg.std(axis=(0, 2), keepdims=True)
    table = events.assign(
        subject=f"{seed:02d}", concept=concept, split=stimuli["split"].reindex(events["stimulus"]).to_numpy()
    )
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
            rows.append({
                "stimulus": f"{thing}-{i:03d}", "concept": thing, "category": category_of(thing),
                "split": "test" if i % 5 == 4 else "train",
            })  # fmt: skip
    return pd.DataFrame(rows).set_index("stimulus"), describe(scenes, [draw_with_mask(s, 64) for s in scenes])
