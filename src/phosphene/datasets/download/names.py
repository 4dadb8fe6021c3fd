"""Names that come from a server or an archive, and archives: nothing leaves the folder it was sent to."""

import errno
import lzma
import re
import shutil
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from phosphene.errors import PhospheneError
from phosphene.utils.files import whole

RECORD = "checksums.txt"
PART, TAG = ".part", ".part.tag"
UNPACK_RATIO = 20  # EEG and pictures pack to more than a twentieth; a bomb does not
UNPACK_FLOOR = 1 << 26  # bytes: a small archive may pack better


_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OSError,
)


def safe_path(name: object, whose: str) -> str:
    """The name, when it is a plain relative path of at most 240 bytes a part; with `/` between its parts."""
    if not isinstance(name, str) or not name:
        raise PhospheneError(f"{whose}: a file without a name: report it to who keeps the data")
    parts = name.split("/")
    fault = (
        "control characters"
        if any(unicodedata.category(c)[0] == "C" for c in name)
        else "an absolute path"
        if name.startswith("/")
        else "a backslash or a colon"
        if set(name) & set("\\:")
        else "a part that is '..', '.' or empty"
        if {"", ".", ".."} & set(parts)
        else "a path of over 1000 bytes or 40 parts"
        if len(name.encode()) > 1000 or len(parts) > 40
        else "a part that is too long"
        if max(len(p.encode()) for p in parts) > 240
        else "a name that phosphene keeps for itself"
        if name == RECORD or name.endswith((PART, TAG))
        else ""
    )
    if fault:
        raise PhospheneError(f"{whose}: refused, {name[:100]!r} is or has {fault}: report it to who keeps the data")
    return name


def no_clash(names: Iterable[str], whose: str) -> None:
    """Refuse two files of one name (whatever the case), and a file where another needs a folder."""
    seen: set[str] = set()
    for name in names:
        if name.casefold() in seen:
            raise PhospheneError(f"{whose}: refused, {name!r} comes twice: report it to who keeps the data")
        seen.add(name.casefold())
    for name in seen:
        if any(str(parent) in seen for parent in PurePosixPath(name).parents):
            raise PhospheneError(f"{whose}: refused, {name!r} lies in another file: report it to who keeps the data")


def slug(title: str) -> str:
    """A title as a folder's name."""
    return re.sub(r"[^\w.-]+", "_", title, flags=re.ASCII).strip("._")[:80]


def inside(folder: Path, name: str) -> Path:
    """The place of a safe name in ``folder``; refused where a link leads elsewhere."""
    target = folder / name
    if target.is_symlink() or not target.resolve().is_relative_to(folder.resolve()):
        raise PhospheneError(f"{target} is or passes through a link to another place: remove it or choose another --to")
    return target


def unpack(archive: Path) -> Path:
    """Unpack a zip archive beside itself, in a folder of its name; one that is there is taken as done.

    A member that is a link, is encrypted or has an unsafe name, and an archive that grows to more than 20 times its
    size (64 MiB is always allowed) or does not fit on the disk, are refused before anything is written. A single outer
    folder of the archive's own name is not doubled.
    """
    folder = archive.with_suffix("")
    if folder.is_dir():
        return folder
    try:
        with zipfile.ZipFile(archive) as packed:
            members = _checked(packed, archive)
            outer = f"{folder.name}/"
            strip = len(outer) if all(name.startswith(outer) for name in members) else 0
            with whole(folder) as part:
                part.mkdir()
                for name, member in members.items():
                    target = part / name[strip:]
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with packed.open(member) as source, target.open("xb") as sink:
                        shutil.copyfileobj(source, sink, 1 << 20)
    except _DAMAGED as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise PhospheneError(f"{archive} cannot be unpacked ({error}): remove it and fetch it again") from None
    return folder


def _checked(packed: zipfile.ZipFile, archive: Path) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    for member in packed.infolist():
        name = safe_path(member.orig_filename.removesuffix("/"), archive.name)
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise PhospheneError(f"{archive}: refused, {name!r} is a link or a device: unpack it by hand")
        if member.flag_bits & 1:
            raise PhospheneError(f"{archive}: {name!r} is encrypted: unpack it by hand")
        if member.is_dir() or name.startswith("__MACOSX/"):
            continue
        if name in members:
            raise PhospheneError(f"{archive}: refused, {name!r} comes twice: unpack it by hand")
        members[name] = member
    no_clash(members, archive.name)
    size = sum(member.file_size for member in members.values())  # zipfile reads no more than is declared
    if size > max(UNPACK_FLOOR, UNPACK_RATIO * archive.stat().st_size):
        raise PhospheneError(f"{archive}: refused, it grows to {amount(size)}: unpack it by hand if you trust it")
    if size > (free := shutil.disk_usage(archive.parent).free):
        raise PhospheneError(f"{archive} grows to {amount(size)}, {amount(free)} are free: free some disk space")
    return members


def amount(size: float) -> str:
    """Bytes in words: `8.3 GB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
