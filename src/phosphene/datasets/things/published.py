"""THINGS-EEG2 preprocessed as published: from the raw recordings of one subject to whitened, merged epochs.

The steps are those of Gifford, Dwivedi, Roig & Cichy (NeuroImage 2022), and of NICE and ATM, which changed channels,
rate and whitening; constants are in `PUBLISHED`. Repetitions are chosen and ordered with scikit-learn's `shuffle` and
one seed, anew at each use, so that every picture has the same order.

Design rationale
----------------
Bit for bit are the choices: which presentations are kept and where they stand. The values agree with the published
files up to float32 (they are stored in half the size) and to the version of MNE's resampling (FFT, boxcar, as then).

Our reading, where the description is silent: an epoch that the recording's ends cut off is dropped before repetitions
are counted; a picture's presentations enter the merged order by session, and within a session as the cap chose them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from phosphene.datasets.things.channels import CHANNELS
from phosphene.datasets.things.raw import Continuous
from phosphene.eeg.whitening import Whitener
from phosphene.errors import PhospheneError, nearest

SEED = 20200220
_CHUNK = 128  # epochs resampled together


@dataclass(frozen=True)
class Published:
    """The choices of one published preprocessing.

    Parameters
    ----------
    channels : in this order; None takes those named O... or P..., in the recording's order.
    tmin, tmax : s, both ends included; the baseline is the mean before 0.
    sfreq : Hz, reached by resampling the epochs.
    dropped : samples cut off in front before whitening.
    whitening : "epochs" or "time", see `Whitener`.
    sigma : partitions whose covariances are averaged; with "test" the whitening has seen the test data.
    max_train, max_test : presentations of a picture kept in each session.
    """

    channels: tuple[str, ...] | None
    tmax: float
    sfreq: float
    dropped: int
    whitening: Literal["epochs", "time"]
    sigma: tuple[str, ...]
    tmin: float = -0.2
    max_train: int = 2
    max_test: int = 20


#: "published" is ATM's and NICE's; "published_17" Gifford's, whose whitening also looks at the test data
PUBLISHED = {
    "published": Published(CHANNELS, 1.0, 250.0, 50, "epochs", ("train",)),
    "published_17": Published(None, 0.8, 100.0, 0, "time", ("train", "test")),
}


def order(n: int, n_kept: int | None = None) -> np.ndarray:
    """(n_kept,) which of ``n`` repetitions are taken, in the published order."""
    from sklearn.utils import shuffle

    return np.asarray(shuffle(np.arange(n), random_state=SEED, n_samples=n_kept))


def channels(choice: Published, recording: Continuous) -> tuple[str, ...]:
    """The channels that a choice takes from a recording."""
    if choice.channels is None:
        return tuple(c for c in recording.ch_names if c[0] in "OP")
    for name in choice.channels:
        if name not in recording.ch_names:
            raise PhospheneError(
                f"{recording.name} has no channel '{name}': {nearest(name, recording.ch_names)} (restore the recording)"
            )
    return choice.channels


def capped(numbers: np.ndarray, limit: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Which presentations of a session are kept: (n_images,) the pictures' numbers, and (n_images, limit) positions."""
    images, counts = np.unique(numbers, return_counts=True)
    if counts.min() < limit:
        image = images[counts.argmin()]
        raise PhospheneError(
            f"{name}: picture {image} was shown {counts.min()} times, and the published preprocessing keeps {limit}: "
            "restore the session, or set dataset.preset to default"
        )
    at = np.argsort(numbers, kind="stable")  # by picture, each in time order
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    orders = {n: order(n, limit) for n in set(counts.tolist())}
    return images, np.stack([at[f + orders[n]] for f, n in zip(first, counts.tolist(), strict=True)])


def epochs(recording: Continuous, choice: Published, rows: np.ndarray) -> np.ndarray:
    """(n_rows, n_chans, n_times) baseline-corrected, resampled epochs of some events, volts."""
    import mne

    names = channels(choice, recording)
    index = [recording.ch_names.index(c) for c in names]
    first, end = _limits(recording, choice)
    data = np.stack([recording.read(s + first, s + end)[index] for s in recording.samples[rows]])
    info = mne.create_info(list(names), recording.sfreq, "eeg")
    made = mne.EpochsArray(data, info, tmin=choice.tmin, baseline=(None, 0), verbose="error")
    if choice.sfreq != recording.sfreq:
        made.resample(choice.sfreq, npad="auto", window="boxcar", pad="edge", method="fft", verbose="error")
    return np.asarray(made.get_data(copy=False)[:, :, choice.dropped :])


def _limits(recording: Continuous, choice: Published) -> tuple[int, int]:
    """First sample and end of an epoch, from its onset."""
    return round(choice.tmin * recording.sfreq), round(choice.tmax * recording.sfreq) + 1


def session(recordings: Sequence[Continuous], choice: Published, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """One partition of one session: capped, cut, resampled, by picture number; not yet whitened.

    Parameters
    ----------
    recordings : its recordings, in time order.
    path : the file that will hold the epochs.

    Returns
    -------
    (n_images,) picture numbers, and the (n_images, n_repeats, n_chans, n_times) float32 map of ``path``, volts.
    """
    found: list[tuple[int, int]] = []  # recording, row of every whole epoch
    for i, recording in enumerate(recordings):
        first, end = _limits(recording, choice)
        whole = (recording.samples + first >= 0) & (recording.samples + end <= recording.n_samples)
        found += [(i, int(row)) for row in np.flatnonzero(whole)]
    numbers = np.array([recordings[i].numbers[row] for i, row in found], int)
    part, name = recordings[0].part, recordings[0].name
    if len(numbers) == 0:
        raise PhospheneError(f"{name} holds no whole epoch: restore the recording")
    images, kept = capped(numbers, choice.max_train if part == "train" else choice.max_test, name)
    places = np.full(len(found), -1)
    places[kept.ravel()] = np.arange(kept.size)
    out: np.memmap | None = None
    for i, recording in enumerate(recordings):
        mine = np.array([k for k, (j, _) in enumerate(found) if j == i and places[k] >= 0], int)
        for start in range(0, len(mine), _CHUNK):
            some = mine[start : start + _CHUNK]
            block = epochs(recording, choice, np.array([found[k][1] for k in some], int))
            if out is None:
                out = np.lib.format.open_memmap(path, "w+", np.float32, (kept.size, *block.shape[1:]))
            out[places[some]] = block
    assert out is not None
    return images, out.reshape(*kept.shape, *out.shape[1:])


def whitener(parts: Mapping[str, np.ndarray], choice: Published) -> np.ndarray:
    """(n_chans, n_chans) operator of one session, the covariance to the power -1/2.

    Parameters
    ----------
    parts : "train" and "test" -> (n_images, n_repeats, n_chans, n_times).
    """
    sigma = []
    for part in choice.sigma:
        if part not in parts:
            raise PhospheneError(f"the published whitening needs the {part} recordings of every session: restore them")
        x = parts[part]
        condition = np.repeat(np.arange(len(x)), x.shape[1])
        sigma.append(Whitener(choice.whitening).fit(x.reshape(-1, *x.shape[2:]), condition).covariance_)
    values, vectors = np.linalg.eigh(np.mean(sigma, axis=0))
    if values.min() <= 0:
        raise PhospheneError("the channel covariance is singular: a channel is flat; restore the recording")
    return np.asarray((vectors * values**-0.5) @ vectors.T)


def merge(numbers: Sequence[np.ndarray], n_repeats: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Where each session's epochs stand once merged.

    Parameters
    ----------
    numbers : (n_images,) picture numbers of each session.
    n_repeats : presentations kept in each.

    Returns
    -------
    (n_images,) all picture numbers, ascending; and (n_images, n_all_repeats, 3): session, row in it, repetition in it.
    """
    images = np.unique(np.concatenate(numbers))
    sources: list[list[tuple[int, int, int]]] = [[] for _ in images]
    for s, some in enumerate(numbers):
        for row, i in enumerate(np.searchsorted(images, some)):
            sources[i] += [(s, row, r) for r in range(n_repeats)]
    counts = [len(one) for one in sources]
    if len(set(counts)) > 1:
        i = int(np.argmin(counts))
        raise PhospheneError(
            f"{name}: picture {images[i]} has {counts[i]} presentations and others {max(counts)}: a session "
            "is missing, restore it, or set dataset.preset to default"
        )
    return images, np.array(sources)[:, order(counts[0])]
