"""The names that a pickle may use, and what each of them makes: arrays, numpy's scalars and types, torch's tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Refused(Exception):
    """The rest of a sentence whose subject is the file."""


_PLAIN = (str, bytes, int, float, complex, type(None), np.generic)
_SPREAD = 1 << 60  # larger integers are no keys: Python hashes many of them to one value


def hashed(value: Any) -> Any:
    """A key of a dict or an entry of a set."""
    if not isinstance(value, _PLAIN) or (isinstance(value, np.generic) and value.dtype.hasobject):
        raise Refused("has a key that is neither text nor a number: fetch it elsewhere")
    number: Any = value.item() if isinstance(value, np.generic) else value
    if isinstance(number, int | float | complex) and not abs(number) < _SPREAD:
        raise Refused("has a key that is neither text nor an ordinary number: fetch it elsewhere")
    return value


class Name(NamedTuple):
    """An allowed global, never imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Blob:
    """A large block of bytes that stays in the file."""

    def __init__(self, mapped: np.ndarray):
        self.mapped = mapped

    def read(self) -> bytes:
        return self.mapped.tobytes()


class Type:
    """A numpy type under construction."""

    def __init__(self, code: str):
        if not re.fullmatch(r"[<>|=]?(?:[biufc?]\d{0,2}|[SUO]\d{0,6})", code):
            raise Refused(f"holds an array of type '{code[:20]}', which is not read here: save numbers or text")
        self.dtype = np.dtype(code)

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[4] is not None or state[2] is not None:
            raise Refused("holds a structured array, which is not read here: save each field alone")
        order = state[1]
        if order in ("<", ">") and self.dtype.kind not in "SOb?":
            self.dtype = self.dtype.newbyteorder(order)


class Array:
    """An array under construction: what `_reconstruct` made, or a tensor of a storage."""

    def __init__(self, value: np.ndarray | None = None):
        self.value, self.items = value, []  # type: ignore[var-annotated]
        self.shape: tuple[int, ...] = ()

    def build(self, state: Any) -> None:
        if self.value is not None or not isinstance(state, tuple) or len(state) != 5:
            raise Refused("is damaged: fetch it again")
        _, shape, kind, fortran, data = state
        if not isinstance(kind, Type):
            raise Refused("is damaged: fetch it again")
        self.shape = _shape(shape)
        if kind.dtype.hasobject:
            if not isinstance(data, list) or len(data) != math.prod(self.shape) or fortran:
                raise Refused("is damaged: fetch it again")
            self.items, self.value = data, np.empty(self.shape, object)
        else:
            self.value = from_bytes(data, kind.dtype, self.shape, "F" if fortran else "C")

    def made(self, final: Callable[[Any], Any]) -> np.ndarray:
        if self.value is None:
            raise Refused("is damaged: fetch it again")
        flat = self.value.reshape(-1) if self.items else self.value
        for i, item in enumerate(self.items):
            flat[i] = final(item)
        return self.value


def _shape(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, tuple) or len(shape) > 32 or any(type(n) is not int or n < 0 for n in shape):
        raise Refused("is damaged: fetch it again")
    return shape


def from_bytes(data: Any, dtype: np.dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    """An array of these bytes; a view of the file where they lie there."""
    if isinstance(data, str):
        data = data.encode("latin1")
    if not isinstance(data, bytes | Blob):
        raise Refused("is damaged: fetch it again")
    if dtype.itemsize == 0 and 0 not in shape:
        raise Refused("announces entries of no size: fetch it elsewhere")
    n, size = (len(data.mapped) if isinstance(data, Blob) else len(data)), math.prod(shape) * dtype.itemsize
    if n != size:
        raise Refused(f"announces an array of {size:,} bytes and holds {n:,}: fetch it again")
    if size == 0:
        return np.empty(shape, dtype)
    flat = data.mapped.view(dtype) if isinstance(data, Blob) else np.frombuffer(data, dtype).copy()
    return flat.reshape(shape, order=order)  # type: ignore[call-overload]


class Storage(NamedTuple):
    """The numbers of one torch storage."""

    values: np.ndarray


def _tensor(arguments: tuple[Any, ...]) -> Array:
    storage, offset, size, stride = arguments[:4]
    size, stride = _shape(size), _shape(stride)
    if not isinstance(storage, Storage) or type(offset) is not int or offset < 0 or len(size) != len(stride):
        raise Refused("is damaged: fetch it again")
    values = storage.values
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if math.prod(size) == 0:
        return Array(np.empty(size, values.dtype))
    if last >= len(values) or math.prod(size) > len(values):
        raise Refused("announces a tensor larger than its storage: fetch it again")
    steps = [s * values.itemsize for s in stride]
    return Array(np.lib.stride_tricks.as_strided(values[offset:], size, steps, writeable=False))


def _scalar(arguments: tuple[Any, ...]) -> Any:
    kind, data = arguments
    if not isinstance(kind, Type) or kind.dtype.hasobject:
        raise Refused("is damaged: fetch it again")
    return from_bytes(data, kind.dtype, (1,), "C")[0]


def _frombuffer(arguments: tuple[Any, ...]) -> Array:
    data, kind, shape, order = arguments
    if not isinstance(kind, Type) or kind.dtype.hasobject or order not in ("C", "F"):
        raise Refused("is damaged: fetch it again")
    return Array(from_bytes(data, kind.dtype, _shape(shape), order))


def _reconstruct(arguments: tuple[Any, ...]) -> Array:
    if arguments[0] != Name("numpy", "ndarray"):
        raise Refused("makes an array of a class of its own: fetch it elsewhere")
    return Array()


def _encoded(arguments: tuple[Any, ...]) -> bytes:
    text, *coding = arguments
    if not isinstance(text, str) or coding not in ([], ["latin1"], ["latin-1"], ["utf-8"]):
        raise Refused("is damaged: fetch it again")
    return text.encode(coding[0] if coding else "utf-8")


def _plain_bytes(arguments: tuple[Any, ...]) -> Any:
    if not arguments:
        return b""
    if len(arguments) != 1 or not isinstance(arguments[0], bytes | Blob):
        raise Refused("is damaged: fetch it again")
    return arguments[0]


def _pairs(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    if not arguments:
        return {}
    made: dict[Any, Any] = {}
    for key, value in arguments[0]:
        made[hashed(key)] = value
    return made


def _type(arguments: tuple[Any, ...]) -> Type:
    if not arguments or not isinstance(arguments[0], str):
        raise Refused("is damaged: fetch it again")
    return Type(arguments[0])


def _sequence(kind: type) -> Callable[[tuple[Any, ...]], Any]:
    def make(arguments: tuple[Any, ...]) -> Any:
        items = arguments[0] if arguments else ()
        if not isinstance(items, list | tuple) or any(not isinstance(i, str | int | float | bytes) for i in items):
            raise Refused("is damaged: fetch it again")
        return kind(hashed(item) for item in items)

    return make


def _device(arguments: tuple[Any, ...]) -> str:
    kind, *number = arguments
    if not isinstance(kind, str) or len(kind) > 20 or len(number) > 1 or any(type(n) is not int for n in number):
        raise Refused("is damaged: fetch it again")
    return ":".join([kind, *(str(n) for n in number)])


def _refuse(arguments: tuple[Any, ...]) -> Any:
    raise Refused("calls something that is not a function: fetch it elsewhere")


_MAKERS: dict[tuple[str, str], Callable[[tuple[Any, ...]], Any]] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
    ("numpy", "dtype"): _type,
    ("numpy", "ndarray"): _refuse,
    ("_codecs", "encode"): _encoded,
    ("collections", "OrderedDict"): _pairs,
    **{(module, "set"): _sequence(set) for module in ("builtins", "__builtin__")},
    **{(module, "frozenset"): _sequence(frozenset) for module in ("builtins", "__builtin__")},
    **{(module, "bytes"): _plain_bytes for module in ("builtins", "__builtin__")},
    **{(module, "bytearray"): _plain_bytes for module in ("builtins", "__builtin__")},
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda arguments: arguments[0],
    ("torch", "Size"): lambda arguments: _shape(arguments[0]),
    ("torch", "device"): _device,
}
#: torch's storages, by the type of their numbers; numpy has no bfloat16, whose bits are read as integers
STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}
_VALUES = [("torch", name) for name in (*STORAGES, "float16", "float32", "float64", "int64", "int32", "uint8", "bool")]
ALLOWED = {**_MAKERS, **dict.fromkeys(_VALUES, _refuse)}


def called(name: Name, arguments: tuple[Any, ...]) -> Any:
    """What calling an allowed name would give."""
    return ALLOWED[name.module, name.name](arguments)


def set_state(target: Any, state: Any) -> None:
    """BUILD: the state of an array or a type. Of an ordered dict it is torch's `_metadata`, which is left out."""
    if isinstance(target, Array | Type):
        target.build(state)
    elif not (isinstance(target, dict) and isinstance(state, dict)):
        raise Refused("sets the state of what has none: fetch it elsewhere")
