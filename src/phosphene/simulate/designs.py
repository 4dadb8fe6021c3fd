"""Designs of a study: in which order and when pictures are shown, and what there is in the EEG besides the response.

An order (`rapid`, `block`) is a function of the pictures to show (each named as often as it is shown) that returns a
table, ordered in time, with columns `onset` (s from the start of its run), `stimulus`, `block` and `run` (from 1).
A `Design` is an order with its faults: the slow change of every channel's gain (`gain`), no response, no brain
(`phantom`). Faults and their sizes are ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from phosphene.errors import PhospheneError
from phosphene.simulate import noise


@dataclass(frozen=True)
class Design:
    """How a study is made, and whether a decoder's score on it speaks of the picture.

    Parameters
    ----------
    order : "rapid" mixes all classes; "block" shows each class in one stretch; "cycle" shows one class after the other,
        again and again; "order" shows the same mixed list in every run.
    signal : whether the brain responds to pictures.
    state : SD of the slow change of each channel's gain, in log units (electrodes dry, people tire).
    leak : what each class changes apart from the response, from before the onset on: nothing, the power of each channel
        ("spectral") or its offset ("offset"; "early": before the onset alone).
    brain : False for a phantom: coloured noise at the sensors.
    sound : whether a score above chance is evidence of the picture.
    """

    order: Literal["rapid", "block", "cycle", "order"]
    signal: bool
    state: float
    sound: bool
    leak: Literal["", "spectral", "offset", "early"] = ""
    brain: bool = True


#: the designs of a study on disk
DESIGNS: dict[str, Design] = {
    "rapid": Design("rapid", signal=True, state=0.3, sound=True),
    "block": Design("block", signal=True, state=0.3, sound=False),
    "drift": Design("block", signal=False, state=0.3, sound=False),
    "phantom": Design("block", signal=False, state=0.3, sound=False, brain=False),
}


def rapid(
    stimuli: Sequence[str],
    *,
    seed: int | Sequence[int],
    soa: float = 0.4,
    jitter: float = 0.02,
    n_runs: int = 1,
    per_block: int = 100,
    pause: float = 3.0,
    lead: float = 2.0,
) -> pd.DataFrame:
    """Rapid serial presentation, everything randomly intermixed.

    All pictures, training and test alike, are shuffled over the whole session, so that no slow change of the recording
    can tell one condition from another; the same picture never follows itself where that can be avoided.

    Parameters
    ----------
    stimuli : the pictures of the session, each named as often as it is shown.
    soa, jitter : time from onset to onset, and the largest deviation from it, s.
    n_runs, per_block, pause : the session is cut into runs of about equal length, and a run into blocks of at most
        `per_block` pictures with a pause of `pause` s between them.
    lead : silence before the first picture of a run, s.
    """
    if not 0 <= jitter < soa:
        raise PhospheneError(f"jitter ({jitter:g} s) must be at least 0 and below soa ({soa:g} s)")
    if not 1 <= n_runs <= len(stimuli):
        raise PhospheneError(f"n_runs is {n_runs} for {len(stimuli)} presentations: give 1 to {len(stimuli)}")
    rng = np.random.default_rng(seed)
    order = _apart(np.asarray(stimuli)[rng.permutation(len(stimuli))], rng)
    parts, block = [], 0
    for run, chunk in enumerate(np.array_split(order, n_runs), start=1):
        gaps = soa + rng.uniform(-jitter, jitter, size=len(chunk))
        place = np.arange(len(chunk))
        gaps[(place % per_block == 0) & (place > 0)] += pause
        gaps[0] = lead
        blocks = block + 1 + place // per_block
        block = int(blocks[-1])
        parts.append(pd.DataFrame({"onset": np.cumsum(gaps), "stimulus": chunk, "block": blocks, "run": run}))
    return pd.concat(parts, ignore_index=True)


def block(
    stimuli: Sequence[str],
    classes: Sequence[str],
    *,
    seed: int | Sequence[int],
    soa: float = 0.5,
    n_runs: int = 4,
    pause: float = 10.0,
    lead: float = 2.0,
) -> pd.DataFrame:
    """Each class in one stretch, as in EEGCVPR40: whatever changes slowly tells the classes apart.

    Parameters
    ----------
    stimuli : the pictures of the session, each named as often as it is shown.
    classes : the class of each.
    soa : time from onset to onset within a block, s.
    n_runs, pause : the blocks, in random order, are cut into runs; `pause` s lie between two blocks.
    lead : silence before the first picture of a run, s.
    """
    names = np.unique(classes)
    if not 1 <= n_runs <= len(names):
        raise PhospheneError(f"n_runs is {n_runs} for {len(names)} blocks: give 1 to {len(names)}")
    rng = np.random.default_rng(seed)
    pictures, of = np.asarray(stimuli), np.asarray(classes)
    parts, number = [], 0
    for run, chunk in enumerate(np.array_split(rng.permutation(names), n_runs), start=1):
        onset = lead
        for name in chunk:
            shown = rng.permutation(pictures[of == name])
            number += 1
            times = onset + soa * np.arange(len(shown))
            parts.append(pd.DataFrame({"onset": times, "stimulus": shown, "block": number, "run": run}))
            onset = times[-1] + soa + pause
    return pd.concat(parts, ignore_index=True)


def gain(rng: np.random.Generator, n: int, n_times: int, sfreq: float, state: float) -> np.ndarray:
    """Factors (n, n_times) that change within minutes: a channel's SD is `state`, in log units."""
    return np.asarray(np.exp(state * noise.gaussian(rng, n, n_times, sfreq, noise.one_over_f(4.0, corner=0.01))))


def phantom(rng: np.random.Generator, n: int, n_times: int, sfreq: float) -> np.ndarray:
    """Noise at `n` electrodes of something wet without a brain, volts (n, n_times): 1/f, mixed by conduction."""
    mixing = np.eye(n) + 0.1 * rng.standard_normal((n, n))
    return np.asarray(5e-6 * mixing @ noise.gaussian(rng, n, n_times, sfreq, noise.one_over_f(1.0)))


def _apart(order: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Swap pictures that follow themselves with others drawn at random; gives up after a while."""
    for _ in range(100):
        twice = np.flatnonzero(order[1:] == order[:-1]) + 1
        if len(twice) == 0:
            break
        for i in twice:
            j = rng.integers(len(order))
            order[[i, j]] = order[[j, i]]
    return order
