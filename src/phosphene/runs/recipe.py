"""A recipe: one YAML file that holds everything a run depends on, checked before anything starts."""

import inspect
import logging
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, ValidationError

from phosphene import plugins
from phosphene.eeg.preprocessing import Preprocessing
from phosphene.errors import PhospheneError, nearest
from phosphene.evaluation.metrics.table import OfDrawings
from phosphene.evaluation.protocols import Protocol
from phosphene.registry import checked, find
from phosphene.runtime import Precision
from phosphene.settings import Count, Seconds, Settings, strange_numbers
from phosphene.training.fit import Training
from phosphene.utils.files import parse_yaml
from phosphene.utils.paths import is_regular, regular

SHIPPED = dict(sorted((path.stem, path) for path in (Path(__file__).parents[1] / "recipes").glob("**/*.yaml")))
#: arguments of a method that a run knows from its trials
FROM_TRIALS = ("n_chans", "n_times", "sfreq", "concepts")
#: dotted keys by which recipes called things before -> what they are called now
RENAMED = {"evaluation.twin": "evaluation.shuffled_control"}
log = logging.getLogger(__name__)


def shipped(source: str | Path) -> Path:
    """The path of a recipe: a file, or the name of one that comes with the package."""
    return Path(source) if is_regular(source) else SHIPPED.get(str(source), Path(source))


class Evaluation(Settings):
    """How scores get their intervals and p-values.

    Parameters
    ----------
    n_boot, n_perm : bootstrap draws and permutations.
    draws : pictures drawn for each test trial; all are scored, none is chosen.
    shuffled_control : also train the shuffled control (EEG and stimuli of the training trials paired at random).
    pictures : the field's metrics of drawings, beside PixCorr, SSIM and the backbone's own: clip, alexnet2, alexnet5,
        inception, effnet, swav, lpips, ga (50-way), fid, kid, is. All but clip need the extra ``metrics``.
    transductive : also ask scores of the whole test set at once, under their own names (`evaluation.transductive`).
    """

    n_boot: Count = 2000
    n_perm: Count = 2000
    draws: Annotated[int, Field(gt=0, le=1000)] = 1
    shuffled_control: bool = True
    pictures: list[OfDrawings] = Field(default_factory=list)
    transductive: bool = False


class Runtime(Settings):
    """Where a run's models run: no part of what is run, so that another machine may continue it.

    Parameters
    ----------
    device : "auto" is CUDA where there is one, else MPS, else the CPU; or a name of torch, such as cuda:1 or cpu.
    precision : of frozen models and of drawing: "auto" is fp16 on CUDA, else fp32. What is trained has
        ``training.precision``; metrics and autoencoders stay in float32.
    """

    device: str = "auto"
    precision: Precision = "auto"


class Recipe(Settings):
    """Everything that a run depends on.

    Parameters
    ----------
    name, description : what the report calls it.
    dataset : `name` of a registered dataset and its arguments.
    captions : what is said of the stimuli, joined to them when trials are prepared: a folder that `phosphene caption`
        wrote, a table that people wrote, or the name of one of the package; None for what the dataset says itself.
    preprocessing : arguments of `Preprocessing`.
    window : (tmin, tmax) s of the trials that the method sees; None is all.
    channels : those of the prepared trials that the method sees, in this order; None is all. Whitening sees no other.
    silenced_outside : (tmin, tmax) s within the window; of every whitened trial the other samples are 0, so that an
        encoder of a fixed length can be trained on a short window. None silences nothing.
    whitening : "epochs", "time" or None, see `Whitener`; fitted on training trials of each session.
    protocol, training, evaluation : see there.
    method : `name` of a registered method and its arguments.
    generator : `name` of a registered generator and its arguments, or None for no pictures.
    runtime : where it runs, see `Runtime`; it does not count when recipes are compared.
    plugins : modules outside the package that register what the recipe names, see `phosphene.plugins`; those given as
        ``--plugin`` are added. They do not count when recipes are compared.
    """

    name: str
    description: str = ""
    dataset: dict[str, Any]
    captions: str | None = None
    preprocessing: dict[str, Any] = Field(default_factory=dict)
    window: tuple[Seconds | None, Seconds | None] | None = None
    channels: list[str] | None = Field(None, min_length=1)
    silenced_outside: tuple[Seconds, Seconds] | None = None
    whitening: Literal["epochs", "time"] | None = None
    protocol: Protocol = Field(default_factory=Protocol)
    method: dict[str, Any]
    training: Training = Field(default_factory=Training)
    generator: dict[str, Any] | None = None
    evaluation: Evaluation = Field(default_factory=Evaluation)
    runtime: Runtime = Field(default_factory=Runtime)
    plugins: list[str] = Field(default_factory=list)
    _follows: dict[str, Any] = PrivateAttr(default_factory=dict)

    def what(self) -> dict[str, Any]:
        """All of it but where it runs, and where the code of plug-ins is found; what folders are known again by.

        Keys are called as they were first (`RENAMED`), and a later one is left out at its default, so that folders of
        before stay those of this recipe.
        """
        found = self.model_dump(mode="json", exclude={"runtime", "plugins"})
        if not found["evaluation"]["pictures"]:
            del found["evaluation"]["pictures"]
        return _renamed(found, {now: before for before, now in RENAMED.items()})[0]

    @classmethod
    def filled(cls, written: Any) -> Any:
        """`what` of a recipe that was written before some key existed, by today's defaults; what is none, as it is."""
        try:
            return cls(**_renamed(written, RENAMED)[0]).what() if isinstance(written, dict) else written
        except (TypeError, ValidationError):
            return written

    @classmethod
    def read(cls, source: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> Self:
        """A recipe from a file, or from the same as a mapping; ``overrides`` are dotted keys.

        None for `training.stages.<stage>` takes away what the recipe says of a stage.

        Raises
        ------
        PhospheneError
            Unreadable file, unknown key (with the nearest valid one), value of the wrong kind.
        """
        if isinstance(source, Mapping):
            values, origin = dict(source), "the recipe"
        else:
            path, origin = shipped(source), str(source)
            regular(path, f"does not exist: {nearest(path.stem, SHIPPED)} (or give a path)", "recipe")
            try:
                values = parse_yaml(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise PhospheneError(f"{path} is not readable YAML: {error}") from None
            if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
                raise PhospheneError(f"{path} is not a recipe: it must hold keys such as dataset and method")
        values, old = _renamed(values, RENAMED)
        old += [key for key in overrides or {} if key in RENAMED]
        if not origin.endswith("config.yaml"):  # that of a run was written by us
            for key in dict.fromkeys(old):
                log.warning("%s: %s is called %s now", origin, key, RENAMED[key])
        for key, value in (overrides or {}).items():
            key = RENAMED.get(key, key)
            values = _set(values, key.split("."), value, key)
        values = _plugged(values)
        follows = _following(values)
        for key, value in follows.items():
            values = _set(values, key.split("."), value, key)
        try:
            recipe = cls(**values)
        except ValidationError as error:
            raise PhospheneError(f"{origin}: {_first(error)}") from None
        recipe.check()
        recipe._follows = follows
        return recipe

    def notes(self) -> list[str]:
        """What was set since it follows from the method, in a sentence."""
        told = " and ".join(f"{key} is {value}" for key, value in self._follows.items())
        return [f"{self.method['name']} reads single trials: {told}, as the recipe does not say"] if told else []

    @property
    def drawn_by(self) -> str:
        """The generator's backbone; empty where there is none."""
        return str((self.generator or {}).get("backbone", ""))

    def steps(self) -> Preprocessing:
        """The preprocessing, built; of a dataset of stored epochs, filters are refused and the rest left as stored."""
        given = checked(Preprocessing, self.preprocessing, "preprocessing")
        epoched = getattr(find("dataset", self.dataset["name"]), "epoched", False)
        return Preprocessing.as_stored(**given) if epoched else Preprocessing(**given)

    def check(self) -> None:
        """Names and arguments of every part, before anything is computed."""
        for kind in ("dataset", "method", "generator"):
            part = getattr(self, kind)
            if part is None:
                continue
            if "name" not in part:
                raise PhospheneError(f"{kind} has no 'name': name a registered {kind} (`phosphene list`)")
            if not isinstance(part["name"], str):
                raise PhospheneError(f"{kind}.name is {part['name']!r}: give the name of one {kind}")
            arguments = {k: v for k, v in part.items() if k != "name"}
            if kind == "method" and (taken := [key for key in FROM_TRIALS if key in arguments]):
                raise PhospheneError(f"method.{taken[0]} comes from the trials: leave it out")
            checked(find(kind, part["name"]), arguments, f"{kind} '{part['name']}'")
            for name, parameter in inspect.signature(find(kind, part["name"])).parameters.items():
                supplied = kind == "method" and name in FROM_TRIALS
                if parameter.default is parameter.empty and name not in part and not supplied:
                    raise PhospheneError(f"{kind}.{name} is not set: add --set {kind}.{name}=...")
        if self.protocol.gallery == "train":
            raise PhospheneError(
                "protocol.gallery 'train' holds no test picture to find: use test, concept, within_concept or all"
            )
        method: Any = find("method", self.method["name"])
        self.training.check([stage for stage in method.stages if stage not in method.solved], method.name)
        self._implied(method)
        for key in ("window", "silenced_outside"):
            first, last = getattr(self, key) or (None, None)
            if first is not None and last is not None and last <= first:
                raise PhospheneError(f"{key} ends at {last:g} s and begins at {first:g} s: let it end later")
        if place := next(strange_numbers(self.model_dump()), None):
            raise PhospheneError(f"{place}: give a finite number")
        if twice := [c for c in self.channels or () if (self.channels or []).count(c) > 1]:
            raise PhospheneError(f"channels name '{twice[0]}' twice: name each once")
        self.steps()

    def _implied(self, method: Any) -> None:
        """Refuse what contradicts the method, such as averages where single trials are scored."""
        wrong = []
        for key, value in method.implied.items():
            group, _, name = key.rpartition(".")
            own = getattr(getattr(self, group) if group else self, name)
            unused = key == "protocol.select_on" and self.protocol.val_fraction == 0
            if own != value and not unused:
                wrong.append(f"{key} to {'null' if value is None else value}")
        if wrong:
            raise PhospheneError(
                f"{method.name} is scored on single trials and selects no epoch: set {' and '.join(wrong)}"
            )


def _following(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys that follow from the method, where a recipe says nothing of them and means another value."""
    protocol, part = values.get("protocol") or {}, values.get("method")
    if not isinstance(protocol, Mapping) or not isinstance(part, Mapping) or not isinstance(part.get("name"), str):
        return {}  # refused in its place
    method: Any = find("method", part["name"])
    usual = {"whitening": Recipe.model_fields["whitening"].default}
    usual |= {f"protocol.{name}": field.default for name, field in Protocol.model_fields.items()}
    said = {key for key in values if key != "protocol"} | {f"protocol.{key}" for key in protocol}
    if protocol.get("val_fraction") == 0:  # nothing is selected in any case
        said.add("protocol.select_on")
    return {key: value for key, value in method.implied.items() if key not in said and usual[key] != value}


def parse_overrides(pairs: list[str], option: str = "--set") -> dict[str, Any]:
    """``key=value`` of the command line's ``option``; values are read as YAML."""
    overrides = {}
    example = "--set protocol.seed=1" if option == "--set" else f"{option} key=1"
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise PhospheneError(f"{option} {pair} is not key=value: write for instance {example}")
        try:
            overrides[key.strip()] = parse_yaml(value)
        except ValueError:
            raise PhospheneError(f"{option} {key}: the value is not readable YAML: quote it") from None
    return overrides


def _plugged(values: dict[str, Any]) -> dict[str, Any]:
    """The values with the plug-ins that the user named; all are imported now, since what follows asks for classes."""
    named = values.get("plugins") or []
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        return values  # told by the schema
    plugins.load(named)
    every = list(dict.fromkeys([*named, *plugins.asked()]))
    return {**values, "plugins": every} if every else values


def _renamed(values: dict[str, Any], names: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The values of a recipe with keys by other ``names``, and those keys that it had."""
    found = []
    for key, now in names.items():
        part, _, leaf = key.partition(".")
        inner = values.get(part)
        if isinstance(inner, dict) and leaf in inner:
            kept = {name: value for name, value in inner.items() if name != leaf}
            values = {**values, part: {**kept, now.removeprefix(f"{part}."): inner[leaf]}}
            found.append(key)
    return values, found


def _set(values: dict[str, Any], path: list[str], value: Any, key: str) -> dict[str, Any]:
    head, *rest = path
    if not rest and value is None and key == f"training.stages.{head}":  # their settings are taken away
        if head not in values:
            raise PhospheneError(f"cannot remove '{key}': {nearest(head, values)}")
        return {name: kept for name, kept in values.items() if name != head}
    if not rest:
        return {**values, head: value}
    inner = values.get(head)
    if inner is None:
        inner = {}
    if not isinstance(inner, dict):
        raise PhospheneError(f"cannot set '{key}': '{head}' is a single value")
    return {**values, head: _set(inner, rest, value, key)}


def _first(error: ValidationError) -> str:
    """The first fault as one line with its fix."""
    fault = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")  # a misspelt key explains others
    where = [str(part) for part in fault["loc"]]
    if fault["type"] == "extra_forbidden":
        model: Any = Recipe
        for part in where[:-1]:
            model = model.model_fields[part].annotation
        return f"unknown key '{'.'.join(where)}': {nearest(where[-1], model.model_fields)}"
    if fault["type"] == "missing":
        return f"key '{'.'.join(where)}' is missing: add it"
    return f"{'.'.join(where)}: {fault['msg'].removeprefix('Value error, ')} (given: {reprlib.repr(fault['input'])})"
