"""A simulated person in the study of EEGCVPR40: forty classes of fifty drawn pictures, half a second each.

Classes bear the WordNet ids of the published study, and drawings stand for them (`LIKENESS`): animals for animals, and
things for things. A visit is four runs of ten blocks; a block is 25 s, and 10 s of nothing come after it. In the design
"rapid" the same times hold the same pictures in random order. Everybody sees one order, as published; what changes
slowly is each one's own.

The brain has 63 channels. Those of the cap are spherical splines of them, with sensor noise and a slowly changing gain
of their own. The band-pass is causal: nothing of a response comes before its picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import mne
import numpy as np
import pandas as pd
from scipy.signal import butter, sosfilt

from phosphene.eeg.montages import standard_montage
from phosphene.simulate.brain import BACKGROUND_RMS, SENSOR_SHARE, Brain, Drawn
from phosphene.simulate.content import Content, describe
from phosphene.simulate.designs import Design, block, gain, phantom
from phosphene.simulate.head import CHANNELS
from phosphene.simulate.scenes import BACKGROUNDS, COLOURS, POSITIONS, Scene, draw_with_mask, vary
from phosphene.simulate.study import SILENT

SFREQ, SOA, PAUSE, N_RUNS = 1000.0, 0.5, 10.0, 4
N_TIMES = round(SOA * SFREQ)
DEFAULT_SNR_DB = -5.0  # our choice: one look at each picture is all there is
_N_ANIMALS = 8

#: WordNet id -> the object that is drawn for it; the eight animals first
LIKENESS: dict[str, str] = {
    "n02106662": "dog",
    "n02124075": "cat",
    "n02281787": "butterfly",
    "n02389026": "giraffe",
    "n02492035": "rabbit",
    "n02504458": "elephant",
    "n02510455": "pig",
    "n02607072": "fish",
    "n02690373": "airplane",
    "n02906734": "key",
    "n02951358": "boat",
    "n02992529": "robot",
    "n03063599": "cup",
    "n03100240": "car",
    "n03180011": "lamp",
    "n03197337": "clock",
    "n03272010": "guitar",
    "n03272562": "bus",
    "n03297495": "teapot",
    "n03376595": "chair",
    "n03445777": "ball",
    "n03452741": "house",
    "n03584829": "truck",
    "n03590841": "apple",
    "n03709823": "book",
    "n03773504": "rocket",
    "n03775071": "hat",
    "n03792782": "bicycle",
    "n03792972": "tent",
    "n03877472": "shirt",
    "n03888257": "umbrella",
    "n03982430": "cake",
    "n04044716": "kite",
    "n04069434": "star",
    "n04086273": "tree",
    "n04120489": "shoe",
    "n07753592": "banana",
    "n07873807": "balloon",
    "n11939491": "flower",
    "n13054560": "mushroom",
}


@dataclass(frozen=True)
class Shown:
    """What everybody sees.

    Parameters
    ----------
    pictures : (n_pictures) rows indexed by name, `<wnid>_<number>`, with `wnid`.
    captions : (n_pictures, n_slots) the exact caption of each slot, indexed alike.
    drawn : picture and mask of each.
    content : what is in each.
    events : (n_pictures) rows in order of time: `onset` (s from the start of its run), `stimulus`, `block`, `run`.
    """

    pictures: pd.DataFrame
    captions: pd.DataFrame
    drawn: Drawn
    content: Content
    events: pd.DataFrame


def show(design: Design, *, n_classes: int = 40, n_per_class: int = 50, seed: int = 0, size: int = 128) -> Shown:
    """Pictures of the first animals and things of `LIKENESS`, and when each is shown; `size` is in pixels."""
    rng = np.random.default_rng([seed, 61])
    names, n_animals = list(LIKENESS), min(_N_ANIMALS, n_classes // 2)
    chosen = [*names[:n_animals], *names[_N_ANIMALS : _N_ANIMALS + n_classes - n_animals]]
    rows, scenes = [], []
    for wnid in chosen:
        for number in range(1, n_per_class + 1):
            colour, ground, place = (str(rng.choice(list(x))) for x in (COLOURS, BACKGROUNDS, POSITIONS))
            scenes.append(vary(Scene(LIKENESS[wnid], colour, ground, place, int(rng.integers(2**31))), rng))
            rows.append({"stimulus": f"{wnid}_{number}", "wnid": wnid})
    pictures = pd.DataFrame(rows).set_index("stimulus")
    runs = min(N_RUNS, n_classes)
    events = block(list(pictures.index), list(pictures["wnid"]), seed=[seed, 62], soa=SOA, n_runs=runs, pause=PAUSE)
    if design.order == "rapid":
        events["stimulus"] = rng.permutation(events["stimulus"].to_numpy())
    drawn = [draw_with_mask(scene, size) for scene in scenes]
    captions = pd.DataFrame([scene.captions for scene in scenes], pictures.index)
    return Shown(pictures, captions, drawn, describe(scenes, drawn), events)


def visit(
    subject: int,
    shown: Shown,
    design: Design,
    ch_names: Sequence[str],
    *,
    band: tuple[float, float],
    snr_db: float = DEFAULT_SNR_DB,
    seed: int = 0,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The records of one person, run after run.

    Parameters
    ----------
    ch_names : 10-05 names of the cap.
    band : edges of the band-pass, Hz.
    snr_db : as `Brain` has it, over its own 63 channels and all frequencies.

    Yields
    ------
    Places in ``shown.pictures`` (n,), and float32 (n, n_chans, 500) from each onset on: a channel's SD in its run is 1.
    """
    brain = Brain(subject, seed=seed, snr_db=snr_db if design.signal else SILENT, sfreq=SFREQ)
    code, cap = brain._code(shown.content), splines(tuple(ch_names))
    filters = butter(2, band, "bandpass", fs=SFREQ, output="sos")
    for run, events in shown.events.groupby("run"):
        rng = np.random.default_rng([seed, 63, subject, int(run)])
        rows = shown.pictures.index.get_indexer(events["stimulus"])
        samples = np.round(events["onset"].to_numpy() * SFREQ).astype(int)
        n_times = int(samples[-1] + 2 * SFREQ)
        if design.brain:
            data = cap @ brain.record(brain._evoke(code[rows]), np.arange(len(rows)), samples, n_times, run=int(run))
            data += np.sqrt(SENSOR_SHARE) * BACKGROUND_RMS * rng.standard_normal(data.shape, dtype=np.float32)
        else:
            data = phantom(rng, len(ch_names), n_times, SFREQ).astype(np.float32)
        data *= gain(rng, len(ch_names), n_times, SFREQ, design.state)
        for channel in data:  # one at a time: the filter works in double precision
            filtered = sosfilt(filters, channel)
            channel[:] = (filtered - filtered.mean()) / filtered.std()
        yield rows, np.stack([data[:, s : s + N_TIMES] for s in samples])


@lru_cache(maxsize=2)
def splines(ch_names: tuple[str, ...]) -> np.ndarray:
    """(n_chans, 63) float32: what MNE's spherical splines make of the brain's 63 channels elsewhere on the head."""
    names = [*CHANNELS, *(name for name in ch_names if name not in CHANNELS)]
    info = mne.create_info(names, SFREQ, "eeg", verbose="error")
    info.set_montage(standard_montage(), verbose="error")
    evoked = mne.EvokedArray(np.eye(len(names), len(CHANNELS)), info, verbose="error")
    evoked.info["bads"] = names[len(CHANNELS) :]
    evoked.interpolate_bads(verbose="error")
    return np.asarray(evoked.get_data(picks=list(ch_names)), np.float32)
