"""`LazyArray`: trials that are computed when they are read, so that files larger than memory need no copy in it."""

import mmap
import tempfile
from collections.abc import Callable, Iterator, Sequence
from types import EllipsisType
from typing import Any

import numpy as np

from phosphene.errors import PhospheneError

CHUNK = 1 << 26  # bytes computed together
SMALL = 1 << 27  # bytes that are read at once rather than batch by batch, again and again
_RESIDENT = 1 << 26  # bytes of mapped files read before their pages are given back
Rows = np.ndarray | slice | int
Index = Rows | list[int] | EllipsisType


class LazyArray:
    """A read-only array (n_trials, n_chans, n_times), float32, that is computed on access.

    Indexing reads and gives a `numpy.ndarray`, as it would of an array: ``lazy[rows]``, ``lazy[rows, chans, times]``.
    The methods give views, which read nothing.

    Parameters
    ----------
    parts : one array or several, joined along trials; each (..., n_chans, n_times) of any real type, often a
        `numpy.memmap`, or a `LazyArray`. Leading axes are flattened in C order.
    scale : factor to the unit of the result.

    Raises
    ------
    PhospheneError
        If a part has fewer than three axes, or the parts differ in channels or samples.

    Notes
    -----
    Rows are read in the order in which they lie in their file. Pages of read-only memory maps are given back to the
    system as reading goes on, so that resident memory stays bounded.
    """

    ndim = 3
    dtype = np.dtype(np.float32)

    def __init__(self, parts: "np.ndarray | LazyArray | Sequence[np.ndarray | LazyArray]", scale: float = 1.0):
        self.parts = [parts] if isinstance(parts, np.ndarray | LazyArray) else list(parts)
        if not self.parts:
            raise PhospheneError("there is no array to read: give at least one part")
        for part in self.parts:
            if part.ndim < 3 or part.dtype.kind not in "fiu":
                raise PhospheneError(
                    f"a part is {part.dtype} of shape {part.shape}: give real numbers (n_trials, n_chans, n_times)"
                )
            if part.shape[-2:] != self.parts[0].shape[-2:]:
                raise PhospheneError(f"parts differ in channels or samples: {self.parts[0].shape} and {part.shape}")
        self._scale = scale
        self._starts = np.cumsum([0, *(int(np.prod(p.shape[:-2])) for p in self.parts)])
        self.shape: tuple[int, int, int] = (int(self._starts[-1]), *self.parts[0].shape[-2:])
        self._maps = [m for p in self.parts if isinstance(p, np.ndarray) and (m := _read_only_map(p)) is not None]
        self._touched = 0

    # -- reading -----------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of the whole, once read."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self.shape}"

    def __getitem__(self, index: "Index | tuple[Index, ...]") -> np.ndarray:
        wanted = list(index) if isinstance(index, tuple) else [index]
        for at in [i for i, one in enumerate(wanted) if one is Ellipsis][:1]:
            wanted[at : at + 1] = [slice(None)] * (4 - len(wanted))
        if len(wanted) > 3 or any(i is None for i in wanted):
            raise IndexError(f"trials have three axes (n_trials, n_chans, n_times), not {len(wanted)}")
        wanted += [slice(None)] * (3 - len(wanted))
        first, chans, times = wanted
        rows = np.arange(len(self))[first]
        if isinstance(times, slice) and (isinstance(chans, slice) or (isinstance(first, slice) and _is_list(chans))):
            picked, samples = np.arange(self.shape[1])[chans], range(self.shape[2])[times]
            out = self._read(rows.ravel(), picked, samples)
            return out.reshape(*rows.shape, *out.shape[1:])
        whole = self._read(rows.ravel(), None, range(self.shape[2]))
        here = slice(None) if isinstance(first, slice) else np.arange(rows.size).reshape(rows.shape)
        return np.asarray(whole[here if rows.ndim else 0, chans, times])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("a LazyArray is computed when it is read: it cannot become an array without a copy")
        whole = self[:]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def __iter__(self) -> Iterator[np.ndarray]:
        for _, some in chunks(self):
            yield from some

    def _read(self, rows: np.ndarray, chans: np.ndarray | None, times: range) -> np.ndarray:
        if chans is not None and np.array_equal(chans, np.arange(self.shape[1])):
            chans = None
        backwards = times.step < 0 and len(times) > 0
        ahead = times[::-1] if backwards else times
        out = np.empty((len(rows), self.shape[1] if chans is None else len(chans), len(times)), np.float32)
        if out.size:
            self._fill(out, rows, chans, ahead)
        return out[:, :, ::-1] if backwards else out

    def _fill(self, out: np.ndarray, rows: np.ndarray, chans: np.ndarray | None, times: range) -> None:
        """Write the trials ``rows``, at these channels (None is all) and samples (step > 0), into ``out``."""
        order = np.argsort(rows, kind="stable")
        bounds = np.searchsorted(rows[order], self._starts)
        for part, start, low, high in zip(self.parts, self._starts[:-1], bounds[:-1], bounds[1:], strict=True):
            places = order[low:high]
            if isinstance(part, LazyArray):
                for some in _split(places, part.shape):
                    x = np.empty((len(some), *out.shape[1:]), np.float32)
                    part._fill(x, rows[some] - start, chans, times)
                    out[some] = x if self._scale == 1 else np.multiply(x, self._scale, out=x)
            elif len(places):
                self._copy(out, places, part, rows[places] - start, chans, slice(times.start, times.stop, times.step))

    def _copy(
        self, out: np.ndarray, places: np.ndarray, part: np.ndarray, rows: np.ndarray, chans: Any, times: slice
    ) -> None:
        """Row by row, so that no copy in the file's own type is made."""
        index = np.unravel_index(rows, part.shape[:-2])
        size = part.dtype.itemsize * part.shape[-1] * part.shape[-2]
        for i, where in zip(places, zip(*index, strict=True), strict=True):
            x = part[where][:, times] if chans is None else part[where][chans, times]
            if self._scale == 1:
                with np.errstate(over="ignore"):  # it becomes infinite, which is refused where it matters
                    out[i] = x
            else:
                np.multiply(x, self._scale, out=out[i], casting="unsafe")
            self._touched += size
            if self._touched > _RESIDENT:
                self._touched = 0
                for mapped in self._maps:
                    mapped.madvise(mmap.MADV_DONTNEED)

    # -- views -------------------------------------------------------------------------------------

    def rows(self, index: Any) -> "LazyArray":
        """The trials at ``index`` (positions, slice or mask), in this order."""
        return _View(self, rows=index)

    def chans(self, index: Any) -> "LazyArray":
        """The channels at ``index`` (positions, slice or mask), in this order."""
        return _View(self, chans=index)

    def times(self, first: int | None, last: int | None) -> "LazyArray":
        """The samples ``first`` to ``last``, the last one left out."""
        return _View(self, times=slice(first, last))

    def map(self, function: Callable[[np.ndarray, np.ndarray], np.ndarray], n_times: int | None = None) -> "LazyArray":
        """Each trial by itself through a function.

        Parameters
        ----------
        function : takes some trials (n, n_chans, n_times) float32, which it may change, and their rows (n,) in this
            array; gives (n, n_chans, its n_times).
        n_times : what the function gives; None if it keeps the length.
        """
        return _Mapped(self, function, self.shape[2] if n_times is None else n_times)

    def means(self, groups: np.ndarray) -> "LazyArray":
        """Means over the trials of each group; ``groups`` (n_trials,) numbers them from 0, none may be empty."""
        return _Means(self, groups)


class _View(LazyArray):
    """What reads from another `LazyArray`: its trials, channels (None is all) and samples at these places."""

    def __init__(self, parent: LazyArray, rows: Any = slice(None), chans: Any = slice(None), times: Any = slice(None)):
        self.parent, self._rows = parent, np.arange(len(parent))[rows]
        picked = np.arange(parent.shape[1])[chans]
        self._chans = None if np.array_equal(picked, np.arange(parent.shape[1])) else picked
        self._times = range(parent.shape[2])[times]
        self.shape = (len(self._rows), len(picked), len(self._times))

    def _fill(self, out: np.ndarray, rows: np.ndarray, chans: np.ndarray | None, times: range) -> None:
        own = self._chans if chans is None else chans if self._chans is None else self._chans[chans]
        self.parent._fill(out, self._rows[rows], own, self._times[times.start : times.stop : times.step])


class _Mapped(_View):
    def __init__(self, parent: LazyArray, function: Callable[[np.ndarray, np.ndarray], np.ndarray], n_times: int):
        self.parent, self.function = parent, function
        self.shape = (*parent.shape[:2], n_times)

    def _fill(self, out: np.ndarray, rows: np.ndarray, chans: np.ndarray | None, times: range) -> None:
        keep = slice(times.start, times.stop, times.step)
        for places in _split(np.argsort(rows, kind="stable"), self.parent.shape):
            x = np.empty((len(places), *self.parent.shape[1:]), np.float32)
            self.parent._fill(x, rows[places], None, range(x.shape[2]))
            x = self.function(x, rows[places])
            out[places] = (x if chans is None else x[:, chans])[:, :, keep]


class _Means(_View):
    """Sums in float64, trial after trial, as over an array in memory."""

    def __init__(self, parent: LazyArray, groups: np.ndarray):
        groups = np.asarray(groups)
        self.parent, self.counts = parent, np.bincount(groups)
        if len(groups) != len(parent) or not self.counts.all():
            raise PhospheneError(f"{len(groups)} group numbers for {len(parent)} trials: number them from 0, no gaps")
        self.members = np.argsort(groups, kind="stable")
        self.starts = np.cumsum([0, *self.counts])
        self.shape = (len(self.counts), *parent.shape[1:])

    def _fill(self, out: np.ndarray, rows: np.ndarray, chans: np.ndarray | None, times: range) -> None:
        for places in _split(np.argsort(rows, kind="stable"), self.shape):
            sums = np.zeros((len(places), *out.shape[1:]), np.float64)
            groups = rows[places]
            of = np.repeat(np.arange(len(places)), self.counts[groups])
            members = np.concatenate([self.members[self.starts[g] : self.starts[g + 1]] for g in groups])
            for some in _split(np.argsort(members, kind="stable"), self.parent.shape):
                x = np.empty((len(some), *out.shape[1:]), np.float32)
                self.parent._fill(x, members[some], chans, times)
                add(sums, of[some], x)
            sums /= self.counts[groups][:, None, None]
            out[places] = sums


def add(sums: np.ndarray, groups: np.ndarray, x: np.ndarray) -> None:
    """``sums[groups[i]] += x[i]``, one trial after the other."""
    for group, trial in zip(groups, x, strict=True):
        sums[group] += trial


EEG = np.ndarray | LazyArray


def stays(eeg: EEG) -> bool:
    """Whether the array stays on disk: it is, or rests on, a memory map."""
    if isinstance(eeg, _View):
        return stays(eeg.parent)
    return any(stays(p) for p in eeg.parts) if isinstance(eeg, LazyArray) else isinstance(_owner(eeg), mmap.mmap)


def read(eeg: EEG) -> EEG:
    """The array in memory if it is small or lies there already; else as it is."""
    return np.asarray(eeg) if isinstance(eeg, LazyArray) and (eeg.nbytes <= SMALL or not stays(eeg)) else eeg


def lazy(eeg: EEG) -> LazyArray:
    """The array as a `LazyArray`."""
    return eeg if isinstance(eeg, LazyArray) else LazyArray(eeg)


def chunks(eeg: EEG, n_bytes: int = CHUNK) -> Iterator[tuple[int, np.ndarray]]:
    """Some trials after the other, about ``n_bytes`` of float32 at a time, and the row of the first."""
    step = _step(eeg.shape, n_bytes)
    held = lazy(eeg) if stays(eeg) else eeg
    for start in range(0, len(eeg), step):
        yield start, np.asarray(held[start : start + step])


def spooled(eeg: np.ndarray) -> np.ndarray:
    """The same array as a read-only map of an unnamed temporary file (in `TMPDIR`), which vanishes with the array."""
    with tempfile.TemporaryFile(prefix="phosphene-") as file:
        try:
            np.ascontiguousarray(eeg).tofile(file)
            file.flush()
        except OSError as error:
            room = f"{eeg.nbytes / 1e9:.1f} GB of epochs"
            raise PhospheneError(
                f"no room for {room} in {tempfile.gettempdir()} ({error}): set TMPDIR to a folder with more"
            ) from None
        return np.memmap(file, eeg.dtype, "r", shape=eeg.shape)


def _step(shape: tuple[int, ...], n_bytes: int = CHUNK) -> int:
    return max(1, n_bytes // max(1, 4 * shape[1] * shape[2]))


def _split(places: np.ndarray, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    step = _step(shape)
    for start in range(0, len(places), step):
        yield places[start : start + step]


def _is_list(index: Any) -> bool:
    return isinstance(index, list | np.ndarray) and np.ndim(index) == 1


def _owner(array: Any) -> Any:
    """What holds the memory of an array: at the end of its bases."""
    while getattr(array, "base", None) is not None:  # as_strided puts an object of its own between
        array = array.base
    return array


def _read_only_map(array: np.ndarray) -> "mmap.mmap | None":
    """The map beneath an array, if its pages may be dropped without loss."""
    held = _owner(array)
    droppable = isinstance(held, mmap.mmap) and not array.flags.writeable and hasattr(mmap, "MADV_DONTNEED")
    return held if droppable else None
