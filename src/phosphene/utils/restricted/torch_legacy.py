"""Torch files of before version 1.6: pickles one after another, then the storages' numbers.

The order is: magic number, version of the protocol, facts of the machine, the object, the keys of its storages, and for
each key the count of its numbers (8 bytes) and the numbers themselves (`torch.save` with
`_use_new_zipfile_serialization=False` still writes it). The object is walked twice: once to learn where it ends and of
what type its storages are, and again with the storages mapped where they lie.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from phosphene.utils.restricted.arrays import STORAGES, Name, Refused, Storage
from phosphene.utils.restricted.machine import Machine

MAGIC = 0x1950A86A20F9469CFC6C
START = b"\x80\x02\x8a\n" + MAGIC.to_bytes(10, "little") + b"."
_VERSION = 1001


def read_legacy(path: Path) -> Any:
    """What `torch.save` wrote before version 1.6.

    Raises
    ------
    Refused
        With the rest of a sentence whose subject is the file.
    """
    size, mapped = path.stat().st_size, np.memmap(path, np.uint8, "r")
    with path.open("rb") as file:
        file.seek(len(START))
        if Machine(file, size).run() != _VERSION:
            raise Refused("is a torch file of an unknown version: save it again with torch")
        machine = Machine(file, size).run()
        if not isinstance(machine, dict) or machine.get("little_endian") is not True:
            raise Refused("was written on a big-endian machine: save it again on another")
        begin = file.tell()
        first = _Storages({})
        Machine(file, size, mapped, first).run()
        keys = Machine(file, size).run()
        named = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
        if not named or len(set(keys)) != len(keys) or set(keys) != set(first.kinds):
            raise Refused("names other storages than it holds: fetch it again")
        storages = _storages(file, size, mapped, keys, first)
        file.seek(begin)
        return Machine(file, size, mapped, _Storages(storages)).run()


class _Storages:
    """Gives what a persistent id stands for; a storage that is not known yet is zeros without memory."""

    def __init__(self, known: dict[str, np.ndarray]):
        self.known = known
        self.kinds: dict[str, tuple[str, int]] = {}  # key -> name of the storage's type, count of its numbers

    def __call__(self, key: Any) -> Storage:
        if not isinstance(key, tuple) or len(key) != 6 or key[0] != "storage" or not isinstance(key[2], str):
            raise Refused("points to data outside of itself: fetch it elsewhere")
        _, kind, name, _, count, view = key
        if not isinstance(kind, Name) or kind.name not in STORAGES or type(count) is not int or count < 0:
            raise Refused("names a storage of an unknown type: save it again with torch")
        if self.kinds.setdefault(name, (kind.name, count)) != (kind.name, count):
            raise Refused("gives a storage two types or sizes: fetch it elsewhere")
        values = self.known.get(name)
        if values is None:
            dtype = np.float32 if kind.name == "BFloat16Storage" else np.dtype(STORAGES[kind.name])
            values = np.broadcast_to(np.zeros((), dtype), count)
        if view is None:
            return Storage(values)
        if not isinstance(view, tuple) or len(view) != 3 or any(type(n) is not int or n < 0 for n in view[1:]):
            raise Refused("is damaged: fetch it again")
        _, offset, length = view
        if offset + length > count:
            raise Refused("announces a part larger than its storage: fetch it again")
        return Storage(values[offset : offset + length])


def _storages(
    file: BinaryIO, size: int, mapped: np.ndarray, keys: list[str], announced: _Storages
) -> dict[str, np.ndarray]:
    """Each storage's numbers, where they lie in the file."""
    found, at = {}, file.tell()
    for key in keys:
        kind, count = announced.kinds[key]
        dtype = np.dtype(STORAGES[kind])
        file.seek(at)  # read, not mapped: a mapped look would bring in the pages around it, of every storage
        if at + 8 > size or int.from_bytes(file.read(8), "little") != count:
            raise Refused("announces a storage of another size than it holds: fetch it again")
        begin, at = at + 8, at + 8 + count * dtype.itemsize
        if at > size:
            raise Refused("is cut off: fetch it again")
        values = mapped[begin:at].view(dtype) if count else np.empty(0, dtype)
        if kind == "BFloat16Storage":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        found[key] = values
    if at != size:
        raise Refused("holds more than it names: fetch it again")
    return found
