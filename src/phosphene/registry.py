"""One registry for every noun: a class enters it with ``@register`` and is built by kind and name.

Modules of a kind are imported only when the kind is asked for, so that ``import phosphene`` stays light.
"""

import importlib
import importlib.util
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from phosphene.errors import PhospheneError, nearest
from phosphene.plugins import load_installed
from phosphene.settings import Rule, as_text, number

PACKAGES = {
    "dataset": "phosphene.datasets",
    "target": "phosphene.targets",
    "encoder": "phosphene.encoders",
    "prior": "phosphene.priors",
    "generator": "phosphene.generators",
    "method": "phosphene.methods",
    "captioner": "phosphene.captions",
}
_classes: dict[str, dict[str, type]] = {kind: {} for kind in PACKAGES}
_LENIENT = ConfigDict(
    arbitrary_types_allowed=True, coerce_numbers_to_str=True, allow_inf_nan=False
)  # subject: 3 means "3"
_OPEN = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
C = TypeVar("C", bound=type)


def register(kind: str, name: str) -> Callable[[C], C]:
    """Class decorator: make the class known as ``name`` among the ``kind``s."""

    def enter(cls: C) -> C:
        known = _classes[kind].get(name)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise PhospheneError(f"two classes are registered as {kind} '{name}': rename one")
        _classes[kind][name] = cls
        return cls

    return enter


def classes(kind: str) -> dict[str, type]:
    """Name -> class, for every registered class of one kind."""
    _import(kind, f'@register("{kind}"')
    load_installed()
    return dict(sorted(_classes[kind].items()))


def find(kind: str, name: str) -> type:
    """A registered class; of its kind, only the module that registers this name is imported."""
    if name not in _classes.get(kind, ()):
        _import(kind, f'@register("{kind}", "{name}")')
    if name not in _classes[kind] and name not in classes(kind):
        raise PhospheneError(f"unknown {kind} '{name}': {nearest(name, _classes[kind])}")
    return _classes[kind][name]


def _import(kind: str, entry: str) -> None:
    """The modules of a kind's package in whose source a line begins so; where only bytecode is installed, all."""
    if kind not in PACKAGES:
        raise PhospheneError(f"unknown kind '{kind}': {nearest(kind, PACKAGES)}")
    package = importlib.import_module(PACKAGES[kind])
    for module, source in _below(package):
        if source is None or re.search(f"^{re.escape(entry)}", source, re.MULTILINE):
            importlib.import_module(module)


@cache
def _below(package: ModuleType) -> list[tuple[str, str | None]]:
    """Every module in a package and in those below it with its source, which is None where only bytecode is installed.

    None is imported, nor is the package that it lies in.
    """

    def walk(paths: Iterable[str], prefix: str) -> Iterator[tuple[str, str | None]]:
        for module in pkgutil.iter_modules(paths, prefix):
            spec = module.module_finder.find_spec(module.name, None)
            yield module.name, getattr(spec.loader if spec else None, "get_source", lambda name: None)(module.name)
            if module.ispkg:
                leaf = module.name.removeprefix(prefix)
                yield from walk([str(Path(path) / leaf) for path in paths], module.name + ".")

    return list(walk(package.__path__, package.__name__ + "."))


@dataclass(frozen=True)
class ArgumentsOf:
    """Marks an argument that holds the arguments of another class: ``Annotated[dict[str, Any], ArgumentsOf(...)]``.

    Parameters
    ----------
    key : the argument that names that class.
    choose : its value -> the class; None for no class.
    supplied : arguments that the method gives itself.
    """

    key: str
    choose: Callable[[Any], Callable[..., Any] | None]
    supplied: tuple[str, ...] = ()


EncoderName = Annotated[str, Rule("a registered encoder", partial(find, "encoder"))]
PriorName = Annotated[str, Rule("a registered prior", partial(find, "prior"))]
EncoderArguments = Annotated[
    dict[str, Any] | None,
    ArgumentsOf("encoder", partial(find, "encoder"), ("n_chans", "n_times", "n_outputs", "sfreq", "chs_info")),
]
PriorArguments = Annotated[
    dict[str, Any] | None, ArgumentsOf("prior", partial(find, "prior"), ("n_inputs", "n_outputs"))
]


def hints_of(cls: Callable[..., Any]) -> dict[str, Any]:
    """Argument -> type, with the ranges that it is annotated with."""
    return get_type_hints(cls.__init__ if isinstance(cls, type) else cls, include_extras=True)  # type: ignore[misc]


def inner(cls: Callable[..., Any], arguments: dict[str, Any]) -> Iterator[tuple[str, Any, dict[str, Any], ArgumentsOf]]:
    """Of arguments that hold those of another class: key, class, what is given, and the mark."""
    parameters = inspect.signature(cls).parameters
    for key, hint in hints_of(cls).items():
        for mark in (m for m in get_args(hint) if isinstance(m, ArgumentsOf)):
            found = mark.choose(arguments.get(mark.key, parameters[mark.key].default))
            if found is not None:
                yield key, found, arguments.get(key) or {}, mark


def checked(cls: Callable[..., Any], arguments: dict[str, Any], where: str) -> dict[str, Any]:
    """The arguments as ``cls`` takes them, numbers written as text made numbers; those for classes within it too.

    A class may have a classmethod ``sound(**arguments)`` that refuses arguments which do not go together.

    Raises
    ------
    PhospheneError
        If ``cls`` has no such argument (naming the nearest one), or a value is of the wrong kind or out of range.
    """
    parameters, hints = inspect.signature(cls).parameters, hints_of(cls)
    values = {}
    for key, value in arguments.items():
        if key not in parameters:
            raise PhospheneError(f"unknown key '{key}' of {where}: {nearest(key, parameters)}")
        kind: TypeAdapter[Any] = TypeAdapter(hints.get(key, Any), config=_LENIENT)
        try:
            values[key] = kind.validate_python(number(value, hints.get(key, Any)))
        except ValueError as error:
            said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            raise PhospheneError(
                f"{where}: {key}: {said.removeprefix('Value error, ')} (given: {as_text(value)})"
            ) from None
    for key, found, given, mark in inner(cls, values):
        if taken := [name for name in mark.supplied if name in given]:
            raise PhospheneError(f"{where}: {key}: {taken[0]} comes from the trials: leave it out")
        own = checked(found, given, f"{where}: {key}")
        if key in values and values[key] is not None:
            values[key] = own
    together = getattr(cls, "sound", None)
    if together is not None:
        defaults = {k: p.default for k, p in parameters.items() if p.default is not p.empty}
        try:
            together(**{**defaults, **values})
        except PhospheneError as error:
            raise PhospheneError(f"{where}: {error}") from None
    return values


def build(kind: str, name: str, **arguments: Any) -> Any:
    """Build a registered class: ``build("encoder", "nice", n_chans=63, n_times=250, n_outputs=1024)``.

    Raises
    ------
    PhospheneError
        For an unknown kind, name or argument; the message names the nearest valid one.
    """
    cls = find(kind, name)
    values = checked(cls, arguments, f"{kind} '{name}'")
    for key, parameter in inspect.signature(cls).parameters.items():
        if parameter.default is parameter.empty and parameter.kind not in _OPEN and key not in values:
            raise PhospheneError(f"{kind} '{name}' needs {key}: give it")
    return cls(**values)
