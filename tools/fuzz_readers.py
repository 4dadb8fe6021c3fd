"""Fuzzes the readers of untrusted files, guided by coverage: whatever the bytes, a value or one `PhospheneError`.

    pip install atheris
    python tools/fuzz_readers.py {pickle,npy,torch} CORPUS [libFuzzer options, such as -max_total_time=600]

CORPUS is a folder; it begins with small files of the true structure and keeps what reaches new code. An input that
crashes, takes over 5 s or over 2 GB is written to the working folder: fix the reader, and keep the input in
tests/utils/restricted/cases, which the tests read.
"""

import io
import os
import pickle
import sys
import tempfile
import zipfile
from pathlib import Path

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports(include=["phosphene.utils.restricted"]):
    from phosphene.utils.restricted import read_npy, read_pickle, read_torch

import numpy as np
import torch

from phosphene.errors import PhospheneError

READERS = {"pickle": read_pickle, "npy": read_npy, "torch": read_torch}


def seeds(kind: str) -> list[bytes]:
    """Small files of what the reader is for."""
    value = {"eeg": np.arange(6.0).reshape(2, 3), "names": ["a", ("b", 1)], "o": np.array([{"a": 1}], dtype=object)}
    if kind == "pickle":
        return [pickle.dumps(value, protocol) for protocol in range(6)]
    found = []
    for what in (value, value["eeg"], np.array(["ä"])) if kind == "npy" else ():
        file = io.BytesIO()
        np.save(file, np.asarray(what, dtype=object if isinstance(what, dict) else None), allow_pickle=True)
        found.append(file.getvalue())
    for new in (True, False) if kind == "torch" else ():
        file = io.BytesIO()
        tensors = {"x": torch.arange(6.0).reshape(2, 3).t(), "y": torch.ones(2).bfloat16(), "z": [1, "two"]}
        torch.save(tensors, file, _use_new_zipfile_serialization=new)
        found.append(file.getvalue())
    return found


def wrapped(kind: str, data: bytes) -> bytes:
    """Of torch files most inputs are the pickle alone, in a sound archive: a checksum would stop the rest."""
    if kind != "torch" or data[:2] in (b"PK", b"\x80\x02"):
        return data
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x/data.pkl", data)
        archive.writestr("x/data/0", bytes(24))
    return file.getvalue()


def main() -> None:
    kind, corpus = sys.argv[1], Path(sys.argv[2])
    corpus.mkdir(parents=True, exist_ok=True)
    for i, seed in enumerate(seeds(kind)):
        (corpus / f"seed-{i}").write_bytes(seed)
        if kind == "torch" and seed[:2] == b"PK":
            with zipfile.ZipFile(io.BytesIO(seed)) as archive:
                name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
                (corpus / f"seed-{i}-pickle").write_bytes(archive.read(name))
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None)) / "input"

    def once(data: bytes) -> None:
        path.write_bytes(wrapped(kind, data))
        try:
            READERS[kind](path)
        except PhospheneError as error:
            if not str(error).isprintable():
                raise RuntimeError(f"an answer of several lines: {str(error)!r}") from None

    options = [f"-artifact_prefix={os.getcwd()}/", "-timeout=5", "-rss_limit_mb=2048", str(corpus), *sys.argv[3:]]
    atheris.Setup([sys.argv[0], *options], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
