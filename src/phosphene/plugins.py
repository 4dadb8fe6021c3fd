"""Plug-ins: modules outside the package that register classes or add rows of the backbone table.

An installed package names its module in the entry-point group ``phosphene.plugins``: it is imported when a name is
asked for that the package does not know, and by `phosphene list`. A recipe names others in ``plugins``, and a user on
the command line, with ``--plugin``. A recipe may name what is installed; a file of the current folder is code that may
have come with the data, and runs only if the user names it.
"""

import importlib
import importlib.util
import logging
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

from phosphene.errors import PhospheneError

GROUP = "phosphene.plugins"
_asked: dict[str, None] = {}
log = logging.getLogger(__name__)


def load(names: Iterable[str], here: bool = False) -> None:
    """Import plug-ins by the names of their modules.

    Parameters
    ----------
    here : the user asks: files of the current folder too.

    Raises
    ------
    PhospheneError
        One cannot be found or imported.
    """
    for name in names:
        if not all(part.isidentifier() for part in str(name).split(".")):
            raise PhospheneError(
                f"plugin '{name}' is not a module name: write it as in a Python import, such as my_lab"
            )
        top = name.partition(".")[0]
        if here and not _installed(top) and _lies_here(top):
            sys.path.append(str(Path.cwd()))  # last: no file of the folder takes the place of an installed module
        elif name not in _asked and not _installed(top):
            own = f"it lies in this folder: add --plugin {name} to run its code" if _lies_here(top) else ""
            raise PhospheneError(
                f"plugin '{name}' is not installed: {own or 'install the package that holds it, or leave it out'}"
            )
        try:
            importlib.import_module(name)
        except PhospheneError:
            raise
        except Exception as error:  # whatever the code of others raises
            line = f"{type(error).__name__}: {error}"
            raise PhospheneError(f"plugin '{name}' cannot be imported ({line}): mend it, or leave it out") from None
        if here:
            _asked[name] = None


def asked() -> list[str]:
    """Those that the user has named in this process."""
    return list(_asked)


@cache
def load_installed() -> None:
    """Import what installed packages offer, once; one that fails is told and left out."""
    for point in entry_points(group=GROUP):
        try:
            point.load()
        except Exception as error:
            package = point.dist.name if point.dist else "?"
            log.warning(
                "plugin %s of package %s cannot be imported (%s: %s) and is left out",
                point.value,
                package,
                type(error).__name__,
                error,
            )


def _installed(top: str) -> bool:
    """Whether a module is found anywhere but in the current folder itself."""
    if top in sys.modules:
        return True
    spec = importlib.util.find_spec(top)
    if spec is None:
        return False
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or [])
    packed = bool(spec.submodule_search_locations)
    roots = {
        Path(place).resolve().parents[1 if packed and spec.origin else 0] for place in places if place != "built-in"
    }
    return Path.cwd().resolve() not in roots


def _lies_here(top: str) -> bool:
    return Path(f"{top}.py").is_file() or Path(top).is_dir()
