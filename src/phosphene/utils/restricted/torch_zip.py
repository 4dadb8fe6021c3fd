"""Torch files of version 1.6 and later: zip archives with one pickle and its storages.

By hand: numpy arrays among the tensors are mapped here too, where `torch.load` reads them whole into memory.
"""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.utils.restricted.arrays import STORAGES, Name, Refused, Storage
from phosphene.utils.restricted.machine import Machine

_MEMBERS = 1_000_000
_HEADER = 30  # bytes of a member's own header, before its name


def read_zip(path: Path) -> Any:
    """What `torch.save` writes since version 1.6.

    Raises
    ------
    Refused
        With the rest of a sentence whose subject is the file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, struct.error, NotImplementedError, UnicodeDecodeError):
        raise Refused("is a damaged torch file, perhaps cut off: fetch it again") from None
    names = [m.filename for m in members]
    if sum(m.compress_size for m in members) > path.stat().st_size:
        raise Refused("holds members that overlap: fetch it elsewhere")
    if len(members) > _MEMBERS or len(set(names)) < len(names):
        raise Refused("holds a member twice, or too many: fetch it elsewhere")
    for name in names:
        if ".." in name.split("/") or name.startswith(("/", "\\")) or "\\" in name or ":" in name:
            raise Refused("holds a member outside of itself: fetch it elsewhere")
    pickles = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise Refused("holds no tensors (no data.pkl): check which file this is")
    top, mapped = pickles[0].removesuffix("data.pkl"), np.memmap(path, np.uint8, "r")
    by_name = dict(zip(names, members, strict=True))
    if f"{top}byteorder" in by_name and _bytes(mapped, by_name[f"{top}byteorder"]).tobytes() != b"little":
        raise Refused("was written on a big-endian machine: save it again on another")
    kept: dict[str, Storage] = {}
    asked: dict[str, tuple[str, Any]] = {}

    def storage(key: Any) -> Storage:
        if not isinstance(key, tuple) or len(key) != 5 or key[0] != "storage" or not isinstance(key[2], str):
            raise Refused("points to data outside of itself: fetch it elsewhere")
        _, kind, name, _, numel = key
        if not isinstance(kind, Name) or kind.name not in STORAGES or f"{top}data/{name}" not in by_name:
            raise Refused("names a storage that it does not hold: fetch it again")
        if asked.setdefault(name, (kind.name, numel)) != (kind.name, numel):
            raise Refused("gives a storage two types or sizes: fetch it elsewhere")
        if name not in kept:
            dtype = np.dtype(STORAGES[kind.name])
            content = _bytes(mapped, by_name[f"{top}data/{name}"])
            if len(content) % dtype.itemsize or len(content) // dtype.itemsize != numel:
                raise Refused("announces a storage of another size than it holds: fetch it again")
            values = content.view(dtype) if len(content) else np.empty(0, dtype)
            if kind.name == "BFloat16Storage":
                values = (values.astype(np.uint32) << 16).view(np.float32)
            kept[name] = Storage(values)
        return kept[name]

    entry = by_name[pickles[0]]
    content = _bytes(mapped, entry)
    with path.open("rb") as file:
        begin = _start(mapped, entry)
        file.seek(begin)
        return Machine(file, begin + len(content), mapped, storage).run()


def _start(mapped: np.ndarray, member: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin."""
    at = member.header_offset
    header = mapped[at : at + _HEADER].tobytes()
    if len(header) < _HEADER or header[:4] != b"PK\x03\x04":
        raise Refused("is a damaged torch file: fetch it again")
    name, extra = struct.unpack("<HH", header[26:30])
    return int(at + _HEADER + name + extra)


def _bytes(mapped: np.ndarray, member: zipfile.ZipInfo) -> np.ndarray:
    """A member's bytes, where they lie in the file."""
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1 or member.compress_size != member.file_size:
        raise Refused("is compressed, which torch never does: fetch it elsewhere")
    begin = _start(mapped, member)
    if begin + member.file_size > len(mapped):
        raise Refused("is a damaged torch file, perhaps cut off: fetch it again")
    return mapped[begin : begin + member.file_size]
