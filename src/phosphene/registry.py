"""One registry for every noun: a class enters it with ``@register`` and is built by kind and name.

Modules of a kind are imported only when the kind is asked for, so that ``import phosphene`` stays light.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any, TypeVar, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from phosphene.errors import PhospheneError, nearest
from phosphene.settings import number

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
    if kind not in PACKAGES:
        raise PhospheneError(f"unknown kind '{kind}': {nearest(kind, PACKAGES)}")
    package = importlib.import_module(PACKAGES[kind])
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
    return dict(sorted(_classes[kind].items()))


def find(kind: str, name: str) -> type:
    known = classes(kind)
    if name not in known:
        raise PhospheneError(f"unknown {kind} '{name}': {nearest(name, known)}")
    return known[name]


def checked(cls: Callable[..., Any], arguments: dict[str, Any], where: str) -> dict[str, Any]:
    """The arguments as ``cls`` takes them, numbers written as text made numbers.

    Raises
    ------
    PhospheneError
        If ``cls`` has no such argument (naming the nearest one), or a value is of the wrong kind.
    """
    parameters = inspect.signature(cls).parameters
    hints = get_type_hints(cls.__init__ if isinstance(cls, type) else cls)  # type: ignore[misc]
    values = {}
    for key, value in arguments.items():
        if key not in parameters:
            raise PhospheneError(f"unknown key '{key}' of {where}: {nearest(key, parameters)}")
        kind: TypeAdapter[Any] = TypeAdapter(hints.get(key, Any), config=_LENIENT)
        try:
            values[key] = kind.validate_python(number(value, hints.get(key, Any)))
        except ValueError as error:
            said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
            raise PhospheneError(f"{where}: {key}: {said} (given: {value!r})") from None
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
