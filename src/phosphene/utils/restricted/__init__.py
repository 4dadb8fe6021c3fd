"""Reading what others pickled, without running any of it.

The field's EEG lies in pickles, some merely named `.npy` or `.pt`. Unpickling them the usual way runs whatever code
they name, and takes as much memory as they are long. Here a file's instructions are walked by a machine of our own
(`machine`), which knows plain containers, numbers, text and the few names that arrays are made of, and nothing else;
an array's bytes stay in the file and are mapped.
"""

import gzip
import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.errors import PhospheneError
from phosphene.utils.paths import regular
from phosphene.utils.restricted.arrays import Refused
from phosphene.utils.restricted.machine import Machine
from phosphene.utils.restricted.torch_legacy import START, read_legacy
from phosphene.utils.restricted.torch_zip import read_zip

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["read_npy", "read_pickle", "read_safetensors", "read_torch", "read_weights"]

_UNPACKED = 1 << 31  # bytes that a gzip file may become


def read_pickle(path: str | Path) -> Any:
    """What a pickle holds, of any protocol, plain or gzipped.

    Parameters
    ----------
    path : the file, whatever its name.

    Returns
    -------
    dict, list, tuple, str, bytes, numbers and arrays. Arrays of over 1 MB are read-only memory maps of the file.

    Raises
    ------
    PhospheneError
        If the file names anything but arrays and plain containers, is damaged, or announces more than it holds.
    """
    path = regular(path, "does not exist: restore it")
    with path.open("rb") as file:
        start = file.read(2)
    if start == b"\x1f\x8b":
        try:
            with gzip.open(path, "rb") as packed:
                content = packed.read(_UNPACKED + 1)
        except (OSError, EOFError, ValueError) as error:
            raise PhospheneError(f"{path} is a damaged gzip file ({error}): fetch it again") from None
        if len(content) > _UNPACKED:
            raise PhospheneError(f"{path} unpacks to over 2 GB: unpack it with gunzip, then give that file")
        return _walk(path, io.BytesIO(content), len(content), None)
    if zipfile.is_zipfile(path) and start == b"PK":
        raise PhospheneError(f"{path} is a zip archive, not a pickle: if torch wrote it, name it .pt")
    with path.open("rb") as file:
        return _walk(path, file, path.stat().st_size, np.memmap(path, np.uint8, "r") if start else None)


def read_npy(path: str | Path) -> Any:
    """The array of a `.npy` file as a read-only memory map; or what a pickle under that name holds.

    Raises
    ------
    PhospheneError
        As `read_pickle`; and for a header that announces more than the file holds.
    """
    path = regular(path, "does not exist: restore it")
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            return read_pickle(path)
        file.seek(0)
        try:
            version = np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = header(file)
            if dtype.itemsize == 0 and 0 not in shape:
                raise PhospheneError(f"{path} announces entries of no size: fetch it elsewhere")
            if not dtype.hasobject:
                if dtype.names is not None or 0 in shape:
                    return np.load(path, allow_pickle=False)
                size, left = dtype.itemsize * _product(shape), path.stat().st_size - file.tell()
                if size > left:
                    raise PhospheneError(f"{path} announces {size:,} bytes and holds {left:,}: fetch it again")
                order = "F" if fortran else "C"
                return np.memmap(path, dtype, "r", file.tell(), shape, order)  # type: ignore[call-overload]
        except PhospheneError:
            raise
        except Exception as error:  # whatever a damaged header leads to
            raise PhospheneError(f"{path} is not a readable .npy file ({_line(error)}): fetch it again") from None
        value = _walk(path, file, path.stat().st_size, np.memmap(path, np.uint8, "r"))
    if not isinstance(value, np.ndarray) or value.shape != shape:
        raise PhospheneError(f"{path}: its header and its content do not fit: fetch it again")
    return value.item() if value.shape == () else value


def read_torch(path: str | Path) -> Any:
    """What `torch.save` wrote, in whichever version of torch and of pickle: containers, with arrays for tensors.

    Returns
    -------
    Containers and numbers; tensors are read-only views of the mapped file, bfloat16 becomes float32.

    Raises
    ------
    PhospheneError
        If the file is another one or damaged, or holds anything but tensors, arrays, numbers and plain containers.
    """
    path = regular(path, "does not exist: restore it")
    try:
        with path.open("rb") as file:
            start = file.read(len(START))
        if start == START:
            return read_legacy(path)
        if start[:2] == b"PK":
            return read_zip(path)
    except Refused as error:
        raise PhospheneError(f"{path} {_line(error)}") from None
    except OSError as error:
        raise PhospheneError(f"{path} cannot be read ({error}): restore it") from None
    raise PhospheneError(f"{path} is not a torch file: check which file this is")


def read_safetensors(path: str | Path) -> "dict[str, Tensor]":
    """The tensors of a `.safetensors` file, by name.

    Raises
    ------
    PhospheneError
        If the file is another one or damaged.
    """
    from safetensors.torch import load_file  # brings torch, which a pickle of arrays does not need

    path = regular(path, "does not exist: restore it")
    try:
        return load_file(path)
    except Exception as error:  # whatever a damaged file leads to
        raise PhospheneError(f"{path} is not a readable safetensors file ({_line(error)}): fetch it again") from None


def read_weights(path: str | Path) -> Any:
    """What a file of weights holds: `read_safetensors` of one named so, `read_torch` of any other."""
    return read_safetensors(path) if Path(path).suffix == ".safetensors" else read_torch(path)


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for n in shape:
        total *= int(n)
    return total


def _walk(path: Path, file: Any, size: int, mapped: np.ndarray | None) -> Any:
    try:
        return Machine(file, size, mapped).run()
    except Refused as error:
        raise PhospheneError(f"{path} {_line(error)}") from None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
