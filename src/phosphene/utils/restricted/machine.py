"""A pickle machine that can build containers, numbers, text and arrays, and can call nothing.

Written from the description of the opcodes in Python's `pickletools`. A global is never imported: its name is looked up
in `ALLOWED`, and anything else ends the walk. Lengths are compared with what the file holds before anything is made.
"""

from __future__ import annotations

import codecs
import re
import struct
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from phosphene.utils.restricted.arrays import ALLOWED, Array, Blob, Name, Refused, called, hashed, set_state

MAPPED = 1 << 20  # bytes from which on a block stays in the file
_LONGEST = 1000  # bytes of a number
_DEPTH = 100  # levels of containers
_ENTRY = 200  # bytes that a container or a short value takes in memory
_MARK = object()


class Machine:
    """Walks one pickle.

    Parameters
    ----------
    file : at the pickle's first byte.
    size : bytes of the file.
    mapped : the whole file as bytes, so that arrays may stay there; None reads them.
    persistent : gives what a persistent id stands for; None refuses them.
    """

    def __init__(
        self,
        file: BinaryIO,
        size: int,
        mapped: np.ndarray | None = None,
        persistent: Callable[[Any], Any] | None = None,
    ):
        self.file, self.size, self.mapped, self.persistent = file, size, mapped, persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.left = 16 * size + (1 << 26)  # bytes that may still be made: what is named twice is made twice

    def run(self) -> Any:
        """The object that the pickle describes.

        Raises
        ------
        Refused
            With the rest of a sentence whose subject is the file.
        """
        try:
            while True:
                code = self._bytes(1)
                if code == b".":
                    return _final(self.stack.pop(), 0, {})
                step = _STEPS.get(code)
                if step is None:
                    raise Refused(f"uses the pickle instruction {code!r}, which could run code: fetch it elsewhere")
                step(self)
        except Refused:
            raise
        except RecursionError:
            raise Refused("nests its containers too deep: fetch it elsewhere") from None
        except Exception as error:  # what a damaged or hostile file leads to: an empty stack, a wrong kind, ...
            raise Refused(f"is damaged or no pickle ({type(error).__name__}): fetch it again") from None

    # -- reading -----------------------------------------------------------------------------------

    def _bytes(self, n: int) -> bytes:
        if n < 0 or n > self.size:
            raise Refused(f"announces {n:,} bytes and holds {self.size:,}: fetch it again")
        found = self.file.read(n)
        if len(found) < n:
            raise Refused("is cut off: fetch it again")
        return found

    def _line(self) -> bytes:
        found = self.file.readline(self.size + 1)
        if not found.endswith(b"\n"):
            raise Refused("is cut off: fetch it again")
        return found[:-1]

    def number(self, form: str) -> int:
        return int(struct.unpack(form, self._bytes(struct.calcsize(form)))[0])

    def block(self, n: int) -> Any:
        """A block of bytes: read, or left in the file if it is large."""
        at = self.file.tell()
        if n > self.size - at:
            raise Refused(f"announces {n:,} bytes and holds {self.size - at:,}: fetch it again")
        if n < MAPPED or self.mapped is None:
            return self._bytes(n)
        self.file.seek(n, 1)
        return Blob(self.mapped[at : at + n])

    # -- the stack ---------------------------------------------------------------------------------

    def push(self, value: Any) -> None:
        self.stack.append(value)
        self.charge(_ENTRY)

    def charge(self, n: int) -> None:
        self.left -= n
        if self.left < 0:
            raise Refused("would take far more memory than it is long: fetch it elsewhere")

    def pop(self) -> Any:
        if self.stack[-1] is _MARK:
            raise Refused("is damaged: fetch it again")
        return self.stack.pop()

    def marked(self) -> list[Any]:
        items: list[Any] = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise Refused("is damaged: fetch it again")
        return self.stack[-1]

    def global_(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str) or (module, name) not in ALLOWED:
            shown = re.sub(r"[^\w.]", "?", f"{module}.{name}")[:80]
            raise Refused(
                f"names {shown}, which could run code: only arrays and plain containers are read, "
                "so have it saved as .npy or .safetensors"
            )
        self.push(Name(module, name))

    def string(self, raw: bytes) -> None:
        """Text of Python 2, one character for each byte."""
        self.push(raw.decode("latin1"))

    def items(self, pairs: list[Any]) -> None:
        target = self.top(dict)
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            target[hashed(key)] = value

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise Refused("is damaged: fetch it again")
        for given in arguments:
            if isinstance(given, str | bytes | list | tuple):  # a maker may copy it
                self.charge(len(given) * (1 if isinstance(given, bytes) else 8))
        self.push(called(function, arguments))

    def build(self) -> None:
        state = self.pop()
        set_state(self.stack[-1], state)

    def persist(self, key: Any) -> None:
        if self.persistent is None:
            raise Refused("points to data outside of itself: fetch it elsewhere")
        self.push(self.persistent(key))


def _final(value: Any, depth: int, seen: dict[int, Any]) -> Any:
    """``value`` with its arrays in place of their plans; what occurs twice is made once."""
    if depth > _DEPTH:
        raise Refused("nests its containers too deep: fetch it elsewhere")
    if id(value) in seen:
        return seen[id(value)][1]
    if isinstance(value, dict):
        made: Any = {}
        seen[id(value)] = (value, made)
        made.update({k: _final(v, depth + 1, seen) for k, v in value.items()})
    elif isinstance(value, list):
        made = []
        seen[id(value)] = (value, made)
        made.extend(_final(v, depth + 1, seen) for v in value)
    elif isinstance(value, Name):
        made = str(value)
    elif isinstance(value, tuple):
        made = tuple(_final(v, depth + 1, seen) for v in value)
    elif isinstance(value, Array):
        made = value.made(lambda item: _final(item, depth + 1, seen))
    elif isinstance(value, Blob):
        made = value.read()
    elif value is _MARK:
        raise Refused("is damaged: fetch it again")
    else:
        return value
    seen[id(value)] = (value, made)  # keeps the plan alive, so that its id stays its own
    return made


def _integer(text: bytes) -> Any:
    if text in (b"00", b"01"):
        return text == b"01"
    if len(text) > _LONGEST:
        raise Refused("holds a number without end: fetch it elsewhere")
    return int(text.removesuffix(b"L"))


def _long(m: Machine, n: int) -> None:
    if not 0 <= n <= _LONGEST:
        raise Refused("holds a number without end: fetch it elsewhere")
    m.push(int.from_bytes(m._bytes(n), "little", signed=True))


def _quoted(m: Machine) -> None:
    raw = m._line().strip()
    if len(raw) < 2 or raw[:1] != raw[-1:] or raw[:1] not in b"\"'":
        raise Refused("is damaged: fetch it again")
    m.string(codecs.escape_decode(raw[1:-1])[0])


def _put(m: Machine, key: int) -> None:
    m.memo[key] = m.stack[-1] if m.stack[-1] is not _MARK else None


def _tuple(m: Machine, n: int) -> None:
    items = [m.pop() for _ in range(n)]
    m.push(tuple(items[::-1]))


def _dict(m: Machine, pairs: list[Any]) -> None:
    m.push({})
    m.items(pairs)


def _set(m: Machine, kind: type, items: list[Any]) -> None:
    m.push(kind(hashed(item) for item in items))


_STEPS: dict[bytes, Callable[[Machine], Any]] = {
    b"\x80": lambda m: m._bytes(1),  # PROTO
    b"\x95": lambda m: m._bytes(8),  # FRAME
    b"(": lambda m: m.push(_MARK),
    b"0": lambda m: m.stack.pop(),
    b"1": lambda m: m.marked(),
    b"2": lambda m: m.push(m.stack[-1]),
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"I": lambda m: m.push(_integer(m._line())),
    b"L": lambda m: m.push(_integer(m._line())),
    b"J": lambda m: m.push(m.number("<i")),
    b"K": lambda m: m.push(m.number("<B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"\x8a": lambda m: _long(m, m.number("<B")),
    b"\x8b": lambda m: _long(m, m.number("<i")),
    b"F": lambda m: m.push(float(m._line())),
    b"G": lambda m: m.push(struct.unpack(">d", m._bytes(8))[0]),
    b"S": _quoted,
    b"T": lambda m: m.string(m._bytes(m.number("<i"))),
    b"U": lambda m: m.string(m._bytes(m.number("<B"))),
    b"V": lambda m: m.push(m._line().decode("raw-unicode-escape")),
    b"X": lambda m: m.push(m._bytes(m.number("<I")).decode("utf-8", "surrogatepass")),
    b"\x8c": lambda m: m.push(m._bytes(m.number("<B")).decode("utf-8", "surrogatepass")),
    b"\x8d": lambda m: m.push(m._bytes(m.number("<Q")).decode("utf-8", "surrogatepass")),
    b"C": lambda m: m.push(m.block(m.number("<B"))),
    b"B": lambda m: m.push(m.block(m.number("<I"))),
    b"\x8e": lambda m: m.push(m.block(m.number("<Q"))),
    b"\x96": lambda m: m.push(m.block(m.number("<Q"))),  # BYTEARRAY8
    b"]": lambda m: m.push([]),
    b")": lambda m: m.push(()),
    b"}": lambda m: m.push({}),
    b"\x8f": lambda m: m.push(set()),
    b"l": lambda m: m.push(m.marked()),
    b"t": lambda m: m.push(tuple(m.marked())),
    b"d": lambda m: _dict(m, m.marked()),
    b"\x91": lambda m: _set(m, frozenset, m.marked()),
    b"\x85": lambda m: _tuple(m, 1),
    b"\x86": lambda m: _tuple(m, 2),
    b"\x87": lambda m: _tuple(m, 3),
    b"a": lambda m: (lambda item: m.top(list).append(item))(m.pop()),
    b"e": lambda m: (lambda items: m.top(list).extend(items))(m.marked()),
    b"s": lambda m: (lambda value: (lambda key: m.items([key, value]))(m.pop()))(m.pop()),
    b"u": lambda m: m.items(m.marked()),
    b"\x90": lambda m: (lambda items: m.top(set).update(map(hashed, items)))(m.marked()),
    b"p": lambda m: _put(m, int(m._line())),
    b"q": lambda m: _put(m, m.number("<B")),
    b"r": lambda m: _put(m, m.number("<I")),
    b"\x94": lambda m: _put(m, len(m.memo)),
    b"g": lambda m: m.push(m.memo[int(m._line())]),
    b"h": lambda m: m.push(m.memo[m.number("<B")]),
    b"j": lambda m: m.push(m.memo[m.number("<I")]),
    b"c": lambda m: m.global_(m._line().decode(), m._line().decode()),
    b"\x93": lambda m: (lambda name: m.global_(m.pop(), name))(m.pop()),
    b"R": lambda m: m.reduce(),
    b"b": lambda m: m.build(),
    b"P": lambda m: m.persist(m._line().decode()),
    b"Q": lambda m: m.persist(m.pop()),
}
