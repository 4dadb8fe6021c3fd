"""What is said of a picture, and at which level: slots, read from a file that anyone may change (`slots.yaml`)."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from phosphene.errors import PhospheneError, nearest
from phosphene.settings import Rule
from phosphene.utils.files import digest, parse_yaml
from phosphene.utils.paths import regular

LEVELS = ("object", "spatial", "thematic")
ABOUT = ("object", "scene")
CLIP_TOKENS = 77  # what CLIP's text half reads, start and end counted (Radford et al. 2021, section 2.4)
TAKEN = (
    "stimulus",
    "image",
    "concept",
    "split",
    "subject",
    "session",
    "run",
    "repeat",
    "onset",
    "duration",
    "category",
    "prompt",
    "slot",
    "level",
    "caption",
    "model",
    "prompt_sha",
    "picture_sha",
    "date",
)


class Slot(NamedTuple):
    """One kind of caption.

    Parameters
    ----------
    name : column of the stimulus table.
    level : "object", "spatial" or "thematic".
    prompt : what a captioner is asked.
    max_tokens : the longest caption in CLIP tokens, start and end counted; at most 77.
    ours : False for the three names of arXiv 2507.07157.
    about : "object" if the caption speaks of the main object, "scene" if of the whole picture.
    """

    name: str
    level: str
    prompt: str = ""
    max_tokens: int = CLIP_TOKENS
    ours: bool = True
    about: str = "scene"

    @property
    def words(self) -> int:
        """The longest caption in words, at three tokens for two words."""
        return max(1, 2 * (self.max_tokens - 2) // 3)

    @property
    def question(self) -> str:
        """What a model is asked for this slot alone."""
        return f"{self.prompt} Answer with that caption alone: one line, lower case, at most {self.words} words."

    @property
    def checksum(self) -> str:
        """Of all that decides what is said: 12 hex digits."""
        return digest([self.name, self.level, self.question, self.max_tokens])


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,39}$")
    level: str
    prompt: str = Field(min_length=1, max_length=2000)
    max_tokens: int = Field(default=CLIP_TOKENS, ge=4, le=CLIP_TOKENS)
    ours: bool = True
    about: str | None = None


def read_slots(path: str | Path) -> tuple[Slot, ...]:
    """The slots of a YAML file: a list of mappings with the keys of `Slot`.

    Raises
    ------
    PhospheneError
        If the file is missing or no such list, names a key, level or slot that cannot be, or names a slot twice.
    """
    path = regular(path, "does not exist: name a file of slots, such as a copy of the package's slots.yaml")
    try:
        rows = TypeAdapter(list[_Row]).validate_python(parse_yaml(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"]) or "the file"
        raise PhospheneError(f"{path}: {where}: {fault['msg']} (slots are a list; keys: {', '.join(_KEYS)})") from None
    except ValueError as error:  # of YAML and of UTF-8
        raise PhospheneError(f"{path} is not readable YAML ({error}): write it again") from None
    slots = []
    for row in rows:
        about = row.about or ("object" if row.level == "object" else "scene")
        for value, known, key in ((row.level, LEVELS, "level"), (about, ABOUT, "about")):
            if value not in known:
                raise PhospheneError(f"{path}: slot {row.name}: {key} '{value}' is unknown: {nearest(value, known)}")
        if row.name in TAKEN:
            raise PhospheneError(f"{path}: a slot cannot be called '{row.name}', a column of other tables: rename it")
        slots.append(Slot(row.name, row.level, " ".join(row.prompt.split()), row.max_tokens, row.ours, about))
    if not slots:
        raise PhospheneError(f"{path} has no slot: write at least one")
    names = [slot.name for slot in slots]
    for name in names:
        if names.count(name) > 1:
            raise PhospheneError(f"{path} has slot '{name}' twice: rename one")
    return tuple(slots)


def choose(slots: Sequence[Slot], names: Iterable[str]) -> tuple[Slot, ...]:
    """Those of the given names, in the order of ``slots``; all of them where no name is given."""
    wanted = list(names)
    known = [slot.name for slot in slots]
    for name in wanted:
        if name not in known:
            raise PhospheneError(f"unknown slot '{name}': {nearest(name, known)}")
    return tuple(slot for slot in slots if not wanted or slot.name in wanted)


_KEYS = tuple(_Row.model_fields)

SLOTS = read_slots(Path(__file__).with_name("slots.yaml"))
NAMED = tuple(slot for slot in SLOTS if not slot.ours)  # one of each level
#: the level of each slot, by its name
LEVEL_OF = {slot.name: slot.level for slot in SLOTS}


def _named(slot: str) -> None:
    if slot not in LEVEL_OF:
        raise PhospheneError(f"unknown caption slot '{slot}': {nearest(slot, LEVEL_OF)}")


SlotName = Annotated[str, Rule("a caption slot", _named)]
