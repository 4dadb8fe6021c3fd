"""Files that are whole or absent: everything is written beside its place and then renamed."""

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from phosphene.errors import PhospheneError
from phosphene.utils.paths import regular

#: names of what is being written, and of a folder that was moved out of the way of a new one
PART, OLD = r"\.[0-9a-f]{8}\.(.+)", r"\.[0-9a-f]{8}-old\.(.+)"
_NESTED, _LARGEST = 30, 1_000_000  # levels, characters
_LITTLE = 1_000_000  # bytes left on a disk that is taken for full


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path``; it takes the final name only if the block ends without an error.

    Works for files and folders alike. On an error (a full disk, Ctrl-C) the temporary is removed and whatever was under
    ``path`` before is untouched. A kill between the two moves that replace a folder leaves the old one under a name
    from which `phosphene.utils.locks.put_right` moves it back.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{uuid.uuid4().hex[:8]}.{path.name}")  # suffix kept: writers choose formats by it
    try:
        yield part
        if part.is_dir() and path.is_dir():
            old = path.with_name(f".{uuid.uuid4().hex[:8]}-old.{path.name}")
            os.replace(path, old)
            os.replace(part, path)
            shutil.rmtree(old)
        else:
            os.replace(part, path)
    except Exception as error:
        if _is_full(error, path.parent):
            raise PhospheneError(f"no space left to write {path}: free some, or choose another --out") from error
        raise
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def _is_full(error: Exception, folder: Path) -> bool:
    """Whether the disk is full, or the user's share of it, which each library tells in its own way."""
    numbers = (errno.ENOSPC, errno.EDQUOT)
    if getattr(error, "errno", None) in numbers or any(f"os error {n}" in str(error) for n in numbers):  # safetensors
        return True
    unsaid = isinstance(error, RuntimeError) or (isinstance(error, OSError) and error.errno is None)  # torch, numpy
    return unsaid and shutil.disk_usage(folder).free < _LITTLE


def cache_folder(cache: str | Path | None, name: str) -> Path:
    """A folder of what is computed once: in ``cache``, else `$PHOSPHENE_CACHE`, else `~/.cache/phosphene`."""
    folder = cache or os.environ.get("PHOSPHENE_CACHE") or Path.home() / ".cache" / "phosphene"
    return Path(folder).expanduser() / name


def write_json(path: str | Path, value: Any) -> None:
    with whole(path) as part:
        part.write_text(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    try:
        return json.loads(regular(path).read_text(encoding="utf-8"))
    except PhospheneError:
        raise
    except (ValueError, RecursionError) as error:
        raise PhospheneError(f"{path} is not readable JSON ({error}): write it again") from None


class _Plain(yaml.SafeLoader):
    """YAML without aliases and keys that are given twice, and not nested without end: a short text cannot become a
    large value."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias (*name) is not read: write the value out")
        self.depth += 1
        if self.depth > _NESTED:
            raise yaml.YAMLError("it is nested too deep")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for i, name in enumerate(names):
            if name in names[:i]:
                raise yaml.YAMLError(f"'{name}' is given twice: keep one")
        return super().construct_mapping(node, deep)


def parse_yaml(text: str) -> Any:
    """A YAML text: plain values, lists and mappings.

    Raises
    ------
    ValueError
        Whatever is wrong with it, in one line.
    """
    if len(text) > _LARGEST:
        raise ValueError(f"it is longer than {_LARGEST:,} characters")
    try:
        return yaml.load(text, Loader=_Plain)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None


def digest(value: Any, n: int = 12) -> str:
    """Short stable hash of a JSON-able value, of bytes, or of a regular file's content."""
    if isinstance(value, Path):
        sha = hashlib.sha256()
        with regular(value).open("rb") as file:
            while block := file.read(1 << 20):
                sha.update(block)
        return sha.hexdigest()[:n]
    if not isinstance(value, bytes):
        value = json.dumps(value, sort_keys=True, default=str).encode()
    return hashlib.sha256(value).hexdigest()[:n]
