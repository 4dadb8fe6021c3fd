"""Settings that people write: no key too many, no NaN, infinity or truth value where a number is asked."""

import math
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


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
