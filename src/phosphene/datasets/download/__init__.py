"""Fetch public data sets: sizes, licence and free disk first, then files that are whole, checked and never run.

Files are downloaded by pooch and huggingface_hub, whose place, resume and checks the module `web` completes. A
checksum that the host gives is verified. The sha256 of every file is recorded in `checksums.txt` beside the files when
it is first complete, and verified when the same command is given again; where the host gives none, that record is the
only check, and it cannot vouch for the first download.
"""

import logging
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pooch

from phosphene.datasets.download.hosts import Listing, RemoteFile, chosen, listing
from phosphene.datasets.download.names import PART, RECORD, amount, inside, unpack
from phosphene.datasets.download.sources import SOURCES, Source, source, table
from phosphene.datasets.download.web import Resuming, Web
from phosphene.errors import PhospheneError
from phosphene.utils.files import whole
from phosphene.utils.paths import has_room

if TYPE_CHECKING:
    from phosphene.utils.progress import Display

__all__ = ["SOURCES", "Plan", "Source", "fetch", "plan", "table"]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What would be downloaded to where."""

    source: Source
    found: Listing
    to: Path
    missing: list[RemoteFile]
    present: list[RemoteFile]
    left: int
    """Bytes still to come."""
    free: int

    def notice(self) -> str:
        """Terms, sizes and space, for the user to agree to."""
        row, found = self.source, self.found
        host = found.licence or "not stated there: ask the authors before use"
        unsized = sum(f.size is None for f in self.missing)
        unchecked = sum(f.checksum is None for f in self.missing)
        lines = [
            f"{row.name}: {row.what}",
            f"from      {row.page}"
            + (f" ({found.title})" if found.title else "")
            + (f", revision {found.revision[:12]}" if found.revision else ""),
            f"licence   {row.licence + '; ' if row.licence else ''}as the host states it: {host}",
            f"cite      {row.citation}",
            f"files     {len(self.missing)} to download, {len(self.present)} there already",
            f"size      {amount(self.left)} to come" + (f", and {unsized} of unknown size" if unsized else ""),
            f"disk      {amount(self.free)} free at {self.to}",
        ]
        if unchecked:
            lines.append(f"checksum  {unchecked} have none from the host: recorded in {RECORD}, verified from then on")
        return "\n".join(line if line.isprintable() else ascii(line)[1:-1] for line in lines)


def plan(name: str, to: str | Path, only: str | None = None, *, web: Web | None = None) -> Plan:
    """Ask the host what it has, compare with what is there, and see whether the rest fits on the disk."""
    row, to = source(name), Path(to)
    if row.host == "hand":
        raise PhospheneError(
            f"{row.name} is behind a page that a person must click through: download from {row.page} and put "
            f"{', '.join(row.by_hand)} (those that you need) into {to}"
        )
    found = chosen(listing(row, web or Web()), row.only, only)
    missing, present, left = [], [], 0
    for file in found.files:
        target = inside(to, file.path)
        if target.is_file():
            if file.size not in (None, target.stat().st_size):
                raise PhospheneError(
                    f"{target} does not have the {file.size} bytes that {row.host} lists: move it away"
                )
            present.append(file)
        else:
            missing.append(file)
            part = inside(to, file.path + PART)
            left += max(0, (file.size or 0) - (part.stat().st_size if part.is_file() else 0))
    has_room(to, "--to")
    existing = next(p for p in (to.absolute(), *to.absolute().parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if left > free:
        raise PhospheneError(
            f"{row.name} needs {amount(left)}, {amount(free)} are free at {to}: free some, choose another --to, or "
            "fetch a part with --only"
        )
    return Plan(row, found, to, missing, present, left, free)


def fetch(
    name: str,
    to: str | Path,
    only: str | None = None,
    *,
    unpack_archives: bool = False,
    agree: Callable[[str], bool] | None = None,
    display: "Display | None" = None,
    web: Web | None = None,
) -> list[Path]:
    """Download a data set of `SOURCES`: ``fetch("things-eeg2-atm", "data/atm", only="sub-08")``.

    Parameters
    ----------
    name : a name of `SOURCES`, or the id of a row at its host.
    to : folder of the files. The same call again goes on where it stopped, and verifies what is there.
    only : keep the files whose path has this text, or matches it as a pattern when it holds `*`, `?` or `[`.
    unpack_archives : also unpack each `.zip` beside itself (the archive stays).
    agree : called with the notice of licence, sizes and space; False ends the call before any download. By default the
        notice is logged and the call goes on.
    display : where progress is shown; nowhere by default.
    web : how hosts are reached.

    Returns
    -------
    The files that are there now, whole and verified; empty when ``agree`` said no.

    Raises
    ------
    PhospheneError
        In one line, for a data set that must be fetched by hand, too small a disk, an unsafe name, a host that cannot
        be reached or answers oddly, and a file that is not what was announced.
    """
    web = web or Web()
    row = source(name)
    if row.host == "hand" and (there := [f for f in row.by_hand if (Path(to) / f).is_file()]):
        record = Record(Path(to))
        return [record.verified(RemoteFile(file, None)) for file in there]
    work = plan(name, to, only, web=web)
    if agree is None:
        log.info("%s", work.notice())
    elif not agree(work.notice()):
        return []
    record = Record(work.to)
    for file in work.missing:
        try:
            _download(work, file, web, display)
        except OSError as error:
            if error.errno not in (28, 122):  # ENOSPC, EDQUOT
                raise
            raise PhospheneError(f"no space left in {to}: free some, then repeat the command to resume") from None
        record.add(file)
    for file in work.present:
        record.verified(file)
    paths = [work.to / file.path for file in work.found.files]
    if unpack_archives:
        for path in paths:
            if path.suffix.lower() == ".zip":
                unpack(path)
    return paths


def _download(work: Plan, file: RemoteFile, web: Web, display: "Display | None") -> None:
    target = inside(work.to, file.path)
    target.parent.mkdir(parents=True, exist_ok=True)
    if work.source.host == "hub":
        _from_hub(work, file, target)
        return
    megabytes = -(-(file.size or 0) // 1_000_000)
    with display.bar(f"{target.name}, MB", megabytes) if display else nullcontext(lambda n=1: None) as bar:
        shown = 0

        def tick(got: int) -> None:
            nonlocal shown
            bar(got // 1_000_000 - shown)
            shown = got // 1_000_000

        for again in (True, False):
            downloader = Resuming(web, target, file.size, file.checksum is not None, tick)
            try:
                pooch.retrieve(file.url, file.checksum, target.name, target.parent, downloader=downloader)
                return
            except PhospheneError:
                raise
            except ValueError:  # pooch: another checksum; what it downloaded is gone
                if not (again and downloader.resumed):  # an old part may have been at fault: once more from the start
                    raise PhospheneError(
                        f"{target.name} does not have the checksum that {work.source.host} lists ({file.checksum}): "
                        "nothing was kept; try again later"
                    ) from None


def _from_hub(work: Plan, file: RemoteFile, target: Path) -> None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    repo = work.found.title
    try:
        revision = work.found.revision or None
        hf_hub_download(repo, file.path, repo_type="dataset", revision=revision, local_dir=work.to)
    except (OSError, HTTPError) as error:
        if isinstance(error, OSError) and error.errno in (28, 122):  # ENOSPC, EDQUOT: not the Hub's fault
            raise
        raise PhospheneError(
            f"the Hub does not deliver {file.path} of {repo} ({type(error).__name__}): repeat the command to resume"
        ) from None
    if not target.is_file() or target.is_symlink():
        raise PhospheneError(f"the Hub left no file {target}: try again with a newer huggingface_hub")
    if file.checksum and not _agrees(target, file.checksum):
        target.unlink()
        raise PhospheneError(f"{file.path} does not have the checksum that the Hub lists: nothing was kept; try again")


def _agrees(path: Path, checksum: str) -> bool:
    algorithm, value = checksum.split(":")
    return bool(pooch.file_hash(str(path), alg=algorithm) == value)


class Record:
    """`checksums.txt`: the sha256 of each file, as `sha256sum` writes and reads it."""

    def __init__(self, folder: Path):
        self.folder, self.path = folder, inside(folder, RECORD)
        self.known: dict[str, str] = {}
        for line in self.path.read_text(encoding="utf-8").splitlines() if self.path.is_file() else ():
            value, _, name = line.partition("  ")
            if len(value) != 64 or not name:
                raise PhospheneError(f"{self.path}: {line[:80]!r} is not a checksum and a name: remove that line")
            self.known[name] = f"sha256:{value}"

    def add(self, file: RemoteFile) -> None:
        checksum = file.checksum if (file.checksum or "").startswith("sha256:") else None
        self.known[file.path] = checksum or f"sha256:{pooch.file_hash(str(self.folder / file.path))}"
        with whole(self.path) as part:
            lines = (f"{known.removeprefix('sha256:')}  {name}\n" for name, known in sorted(self.known.items()))
            part.write_text("".join(lines), encoding="utf-8")

    def verified(self, file: RemoteFile) -> Path:
        """The file, when it has its recorded and its host's checksum; recorded when it was not."""
        path = inside(self.folder, file.path)
        for checksum in {self.known.get(file.path), file.checksum} - {None}:
            if not _agrees(path, str(checksum)):
                raise PhospheneError(f"{path} is not what it was or should be ({checksum}): move it away, fetch again")
        if file.path not in self.known:
            self.add(file)
        return path
