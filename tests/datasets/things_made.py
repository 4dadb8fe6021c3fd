"""Small files of the true structure of THINGS-EEG2."""

import io
import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from phosphene.datasets.things.channels import CHANNELS, POSTERIOR
from phosphene.datasets.things.facts import FACTS

CONCEPTS = ["aardvark", "aircraft_carrier", "bow2", "t-shirt"]  # training, 2 pictures each
TESTED = ["balance_beam", "zebra", "yo-yo"]
N_TRAIN, N_TEST = 8, 3
COUNTS = {"subjects": 1, "train_images": N_TRAIN, "images_per_concept": 2, "test_images": N_TEST}


def facts(form, **more):
    return replace(FACTS[form], **{**COUNTS, **more})


def pictures(root: Path, *, metadata: bool = True, folders: bool = True) -> Path:
    """An image set: folders, and the table of names."""
    train = [(f"{i + 1:05d}_{c}", f"{c}_{k:02d}b.jpg") for i, c in enumerate(CONCEPTS) for k in (1, 5)]
    test = [(f"{i + 1:05d}_{c}", f"{c}_09s.jpg") for i, c in enumerate(TESTED)]
    root.mkdir(parents=True, exist_ok=True)
    if folders:
        for top, listed in (("training_images", train), ("test_images", test)):
            for folder, file in listed:
                path = root / top / folder / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"a picture")
    if metadata:
        table = {
            "train_img_concepts": [f for f, _ in train],
            "train_img_files": [p for _, p in train],
            "test_img_concepts": [f for f, _ in test],
            "test_img_files": [p for _, p in test],
        }
        np.save(root / "image_metadata.npy", np.array(table, dtype=object), allow_pickle=True)
    return root


def stored_arrays(n_repeats=(4, 6), n_chans=63, n_times=250, seed=0):
    """Whitened-looking epochs: part -> (n_images, n_repeats, n_chans, n_times) float64."""
    rng = np.random.default_rng(seed)
    counts = zip(("train", "test"), (N_TRAIN, N_TEST), n_repeats, strict=True)
    return {part: rng.standard_normal((n, r, n_chans, n_times)) for part, n, r in counts}


def write_preprocessed(folder: Path, *, seventeen: bool = False, subject: str = "01", times=None, **changes):
    """The published files: a protocol-4 pickle under the name .npy."""
    n_chans, n_times, sfreq = (17, 100, 100) if seventeen else (63, 250, 250)
    arrays = stored_arrays(n_chans=n_chans, n_times=n_times)
    n_listed = n_times if seventeen else 300
    for part, name in (("train", "training"), ("test", "test")):
        held = {
            "preprocessed_eeg_data": arrays[part],
            "ch_names": list(POSTERIOR if seventeen else CHANNELS),
            "times": np.round(-0.2 + np.arange(n_listed) / sfreq, 3) if times is None else times,
            **changes,
        }
        path = folder / f"sub-{subject}" / f"preprocessed_eeg_{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps({k: v for k, v in held.items() if v is not None}, protocol=4))
    return arrays


def write_ubp(folder: Path):
    """UBP's files: torch zips whose pickle is of protocol 5, numpy arrays inside."""
    arrays = stored_arrays()
    for part, top, concepts, names in (
        ("train", "training_images", CONCEPTS, ("01b", "05b")),
        ("test", "test_images", TESTED, ("09s",)),
    ):
        n_repeats = arrays[part].shape[1]
        paths = [f"{top}/{i + 1:05d}_{c}/{c}_{k}.jpg" for i, c in enumerate(concepts) for k in names]
        labels = np.repeat(np.arange(len(concepts)), len(names))
        texts = np.repeat([c.replace("_", " ") for c in concepts], len(names))
        held = {
            "eeg": arrays[part].astype(np.float32),
            "label": np.repeat(labels[:, None], n_repeats, 1),
            "img": np.repeat(np.array(paths)[:, None], n_repeats, 1),
            "text": np.repeat(texts[:, None], n_repeats, 1),
            "session": np.tile(np.arange(n_repeats) % 4, (len(paths), 1)),
            "times": np.arange(-50, 250) / 250,
        }
        path = folder / "sub-01" / f"{part}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(held, path, pickle_protocol=5)
    return arrays


def write_neurobridge(folder: Path, info=None):
    arrays = stored_arrays()
    (folder / "sub-01").mkdir(parents=True)
    np.save(folder / "sub-01" / "train.npy", arrays["train"].reshape(4, 2, 4, 63, 250).astype(np.float32))
    np.save(folder / "sub-01" / "test.npy", arrays["test"].reshape(3, 1, 6, 63, 250).astype(np.float32))
    if info is not None:
        (folder / "sub-01" / "info.json").write_text(json.dumps(info))
    return arrays


def sequence(part: str, session: int) -> np.ndarray:
    """Picture numbers in the order shown; training pictures fall in 2 of 4 sessions; targets are 99999."""
    rng = np.random.default_rng([session, part == "test"])
    if part == "test":
        shown = np.repeat(np.arange(1, N_TEST + 1), 20)
        shown = np.r_[shown, 2] if session == 1 else shown  # one presentation too many
    else:
        odd = session % 2
        shown = np.repeat(np.arange(1 + odd, N_TRAIN + 1, 2), 2)
        shown = np.r_[shown, 1 + odd] if session == 2 else shown
    shown = rng.permutation(shown)
    return np.insert(shown, [2, 5], 99999)


def signal(n_samples: int, n_chans: int, seed) -> np.ndarray:
    """Noise with a spectrum that falls, volts, every channel with its own size."""
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.standard_normal((n_chans, n_samples)), axis=1)
    x -= np.linspace(0, 1, n_samples) * x[:, -1:]
    return (1e-6 * (0.3 * x + rng.standard_normal(x.shape)) * (1 + np.arange(n_chans) % 5)[:, None]).astype(np.float64)


def write_raw(folder: Path, sfreq: int = 1000, n_sessions: int = 4) -> Path:
    """Raw dicts: 0-d object arrays; 63 channels in another order than the published one, and the stim channel last."""
    names = [*CHANNELS[::-1]]
    for session in range(n_sessions):
        for part, name in (("train", "training"), ("test", "test")):
            codes = sequence(part, session)
            samples = round(0.5 * sfreq) + np.arange(len(codes)) * round(0.2 * sfreq)
            n_samples = int(samples[-1] + 1.3 * sfreq)
            stim = np.zeros(n_samples)
            for k in range(5):
                stim[samples + k] = codes
            eeg = signal(n_samples, 63, [session, part == "test"])
            held = {
                "raw_eeg_data": np.vstack([eeg, stim]),
                "ch_names": [*names, "stim"],
                "ch_types": ["eeg"] * 63 + ["stim"],
                "sfreq": sfreq,
            }
            path = folder / "sub-01" / f"ses-{session + 1:02d}" / f"raw_eeg_{name}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:  # np.save pickles with protocol 4 at least
                np.save(file, np.array(held, dtype=object), allow_pickle=True)
    return folder


def write_source(folder: Path, *, behaviour: bool = True) -> Path:
    """BrainVision parts: two of training, one of test, with the picture order in a behavioural .mat."""
    from scipy.io import savemat

    for part, pieces in (("train", 2), ("test", 1)):
        for piece in range(pieces):
            codes = np.array([1, 2, 99999, 3]) if part == "test" else np.array([1, 2, 3, 4]) + 4 * piece
            stem = f"sub-01_ses-01_task-{part}_part-{piece + 1:02d}"
            eeg = folder / "sub-01" / "ses-01" / "eeg"
            eeg.mkdir(parents=True, exist_ok=True)
            n_samples, onsets = 2400, 500 + 200 * np.arange(len(codes))
            marks = [1] * len(codes) if behaviour else codes
            (eeg / f"{stem}_eeg.vhdr").write_text(_VHDR.format(stem=stem, channels=_channels()), encoding="utf-8")
            lines = [
                f"Mk{i + 2}=Stimulus,S{m:3d},{o + 1},1,0" for i, (m, o) in enumerate(zip(marks, onsets, strict=True))
            ]
            (eeg / f"{stem}_eeg.vmrk").write_text(_VMRK.format(stem=stem, marks="\n".join(lines)), encoding="utf-8")
            data = signal(n_samples, 63, [7, piece]) * 1e6
            data.T.astype("<f4").tofile(eeg / f"{stem}_eeg.eeg")
            if behaviour:
                beh = folder / "sub-01" / "ses-01" / "beh"
                beh.mkdir(exist_ok=True)
                file = io.BytesIO()
                savemat(file, {"data": {"tot_img_number": codes.astype(float), "response": 1.0}})
                (beh / f"{stem}_beh.mat").write_bytes(file.getvalue())
    return folder


def _channels() -> str:
    return "\n".join(f"Ch{i + 1}={c},,1,µV" for i, c in enumerate(CHANNELS))


_VHDR = """Brain Vision Data Exchange Header File Version 1.0
[Common Infos]
Codepage=UTF-8
DataFile={stem}_eeg.eeg
MarkerFile={stem}_eeg.vmrk
DataFormat=BINARY
DataOrientation=MULTIPLEXED
NumberOfChannels=63
SamplingInterval=1000
[Binary Infos]
BinaryFormat=IEEE_FLOAT_32
[Channel Infos]
{channels}
"""

_VMRK = """Brain Vision Data Exchange Marker File, Version 1.0
[Common Infos]
Codepage=UTF-8
DataFile={stem}_eeg.eeg
[Marker Infos]
Mk1=New Segment,,1,1,0,20200101000000000000
{marks}
"""
