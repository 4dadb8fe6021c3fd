"""One process at a time in a folder; what killed ones left behind is put right by the next."""

import errno
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from phosphene.errors import PhospheneError
from phosphene.utils.checksums import still_there
from phosphene.utils.files import OLD, PART
from phosphene.utils.paths import has_room, short

log = logging.getLogger(__name__)
_LOCK = ".{}.lock"
_held: set[Path] = set()  # by this process, which may enter its own folders again


@contextmanager
def alone(folder: str | Path, wait: bool = False) -> Iterator[None]:
    """Nobody else works in the folder, there or not, while the block lasts; leftovers of killed processes are removed.

    Where files cannot be locked (some network disks), a warning says so, and nobody is kept off.

    Parameters
    ----------
    wait : until another process leaves it, instead of an error.

    Raises
    ------
    PhospheneError
        If another process works there.
    """
    folder = Path(os.path.abspath(folder))
    if folder in _held:
        yield
        return
    has_room(folder.parent)
    made = [parent for parent in folder.parents if not parent.exists()]
    path = _lock_of(folder)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise PhospheneError(
                f"{short(folder)} is in use by another process: wait until it ends, or choose another folder"
            ) from None
        log.warning(f"waiting for another process, which makes {short(folder)}")
        lock.acquire()
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
            raise
        log.warning(f"{short(folder)} lies on a disk without locks: see to it that one process alone works there")
    _held.add(folder)
    try:
        put_right(folder)
        yield
    finally:
        _held.discard(folder)
        with suppress(PermissionError):  # Windows keeps it
            path.unlink(missing_ok=True)  # while it is held: whoever waits for it opens a new one
        lock.release()
        with suppress(OSError):  # of a folder that was not written after all, nothing stays
            for parent in made:
                parent.rmdir()


def once(path: Path, make: Callable[[], object]) -> None:
    """What is computed once and kept in a cache, which several processes share: one makes it, the others wait for it.

    Parameters
    ----------
    path : where it lies; it is made if it is not there as it was written.
    make : writes it there, whole.
    """
    there, good = path.exists(), still_there(path)
    left = path.with_name(_LOCK.format(path.name)).exists() and os.access(path.parent, os.W_OK)  # by a killed one
    if good and not left:
        return
    with alone(path, wait=True):
        if not good and (there or not path.exists()):
            make()


def _lock_of(folder: Path) -> Path:
    """Beside the folder, which may not be there yet; in it where nothing can be written beside it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = os.access(folder.parent, os.W_OK) or not folder.is_dir()
    return folder.with_name(_LOCK.format(folder.name)) if beside else folder / ".lock"


def put_right(path: Path) -> None:
    """What a kill left half-written is removed; what it had moved out of the way is moved back.

    ``path`` and everything below it belong to this process alone.
    """
    for folder, names, files in os.walk(path):
        _put_right(Path(folder), [*names, *files])
        there = os.listdir(folder)  # some were removed; where a lock lies beside, another process may be at work
        names[:] = [name for name in names if name in there and _LOCK.format(name) not in files]
    if path.parent.is_dir():
        _put_right(path.parent, [n for n in os.listdir(path.parent) if n.endswith(f".{path.name}")])


def _put_right(folder: Path, names: list[str]) -> None:
    for name in names:
        left = folder / name
        if (old := re.fullmatch(OLD, name)) and not (folder / old[1]).exists():
            os.replace(left, folder / old[1])
        elif old or re.fullmatch(PART, name):
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left)
            else:
                left.unlink(missing_ok=True)
