"""Settings that people write: no key too many, no NaN, infinity or truth value where a number is asked."""

import math
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, ValidationInfo, field_validator
from pydantic_core import CoreSchema, core_schema


@dataclass(frozen=True)
class Rule:
    """What a value has to be beyond its type: ``Annotated[str, Rule("a registered encoder", ...)]``.

    Parameters
    ----------
    words : what the page of arguments says of it.
    test : raises `PhospheneError` for any other value.
    """

    words: str
    test: Callable[[Any], object]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def tested(value: Any) -> Any:
            self.test(value)
            return value

        return core_schema.no_info_after_validator_function(tested, handler(source))


#: what numbers may be, as signatures name it
Count = Annotated[int, Field(gt=0, le=10_000_000)]
ZeroOrMore = Annotated[int, Field(ge=0, le=10_000_000)]
Steps = Annotated[int, Field(ge=1, le=1000)]
PictureSide = Annotated[int, Field(ge=8, le=8192)]
Share = Annotated[float, Field(ge=0, le=1)]
Strength = Annotated[float, Field(gt=0, le=1)]
DropoutRate = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
Guidance = Annotated[float, Field(ge=0, le=1000)]
Positive = Annotated[float, Field(gt=0, le=1e9)]
Penalties = Annotated[tuple[Positive, ...], Field(min_length=1)]
Stretch = Annotated[float, Field(ge=1, le=1000)]
Shift = Annotated[float, Field(ge=-10, le=10)]
Hertz = Annotated[float, Field(gt=0, le=1e6)]
Seconds = Annotated[float, Field(ge=-3600, le=3600)]
Duration = Annotated[float, Field(gt=0, le=1e5)]


class Settings(BaseModel):
    """A group of settings, checked as it is read; it does not change afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        return number(value, cls.model_fields[str(info.field_name)].annotation)


def number(value: Any, hint: Any) -> Any:
    """The value of an argument with this type hint, if no number that it holds is none.

    True and false would pass for the numbers 1 and 0, NaN and infinity for a name where one may be given too.

    Raises
    ------
    ValueError
        If a number is asked, and the value is or holds true, false, NaN or infinity.
    """
    held = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
    if _names(hint, (int, float)) and not _names(hint, (Any, object)):
        if any(isinstance(v, bool) for v in held) and not _names(hint, (bool,)):
            raise ValueError("give a number, not true or false")
        if any(isinstance(v, float) and not math.isfinite(v) for v in held):
            raise ValueError("give a finite number")
    return value


def _names(hint: Any, kinds: Sequence[Any]) -> bool:
    """Whether one of ``kinds`` occurs in a type hint."""
    return any(hint is kind for kind in kinds) or any(_names(part, kinds) for part in get_args(hint))


def as_text(value: Any) -> str:
    """A value as errors show it: of a long one begin and end."""
    return reprlib.repr(value)


def strange_numbers(value: Any, where: str = "") -> Iterator[str]:
    """The dotted place of every NaN or infinity in nested mappings and lists."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from strange_numbers(part, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from strange_numbers(part, where)
    elif isinstance(value, float) and not math.isfinite(value):
        yield where
