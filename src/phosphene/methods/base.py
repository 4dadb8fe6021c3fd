"""`Method`: one published system, wired from an encoder, target spaces and priors."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from phosphene import runtime
from phosphene.captions import NAMED
from phosphene.eeg.trials import Trials
from phosphene.errors import PhospheneError, nearest
from phosphene.generators.base import Conditioning, Generator
from phosphene.registry import find
from phosphene.targets.base import Target, TargetTable
from phosphene.targets.clip import CLIPImage, CLIPText
from phosphene.utils.checksums import intact, kept
from phosphene.utils.files import read_json, write_json
from phosphene.utils.finite import check_finite
from phosphene.utils.paths import regular

T = TypeVar("T")


class Method(nn.Module, ABC):
    """Base of every system.

    The constructor's arguments are the configuration: JSON-able, kept as `config` and by `save`. A stage is either
    trained by gradient descent (``training_step``, run by `phosphene.training.fit`) or solved in closed form
    (``solve``). The class names every stage that it may have; an instance, the stages of its configuration.

    Parameters
    ----------
    n_chans, n_times : shape of a trial.
    sfreq : sampling rate, Hz.
    concepts : the training concepts, sorted. A run gives a method those of these four that its constructor takes.
    """

    #: what is sought with what it decodes: "pictures" (by `points` and `pictures`), also with a head for each slot of
    #: "captions", or "concepts" (see `Classifier`); scores, audit and page follow from it
    decodes: ClassVar[Literal["pictures", "captions", "concepts"]] = "pictures"

    stages: tuple[str, ...] = ()
    solved: tuple[str, ...] = ()
    #: how many concepts it is trained on; None for any number
    n_concepts: ClassVar[int | None] = None
    #: dotted keys of a recipe that follow from the method: set where the recipe says nothing, and not otherwise
    implied: ClassVar[Mapping[str, Any]] = {}
    #: arguments in place of those of the recipe with which it is built, to be checked, without loading a model
    light: ClassVar[Mapping[str, Any]] = {}
    name: ClassVar[str]
    citation: ClassVar[str]

    config: dict[str, Any]
    __signature__: ClassVar[inspect.Signature]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _, *others = inspect.signature(cls.__init__).parameters.values()
        cls.__signature__ = inspect.Signature(others)  # else that of `__new__`

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Keeps the constructor's arguments, defaults filled in, as `config`."""
        method = super().__new__(cls)
        bound = cls.__signature__.bind_partial(*args, **kwargs)
        bound.apply_defaults()
        config = {key: list(value) if isinstance(value, tuple) else value for key, value in bound.arguments.items()}
        object.__setattr__(method, "config", config)
        return method

    @classmethod
    def taken(cls, **facts: Any) -> dict[str, Any]:
        """Those of these facts of a study's trials that the constructor takes."""
        known = inspect.signature(cls).parameters
        return {key: value for key, value in facts.items() if key in known}

    def targets(self) -> dict[str, Target]:
        """The frozen spaces that training needs, by the name under which a batch holds their vectors."""
        return {}

    @property
    def image_space(self) -> CLIPImage | None:
        """CLIP's image space, in which drawings are compared with what was seen; None for methods that draw nothing."""
        space = self.targets().get("image")
        return space if isinstance(space, CLIPImage) else None

    def points(self, heads: Mapping[str, Tensor]) -> Tensor:
        """(n_trials, dim) what of the decoded heads is compared (cosine) with `pictures`."""
        return heads["image"]

    def pictures(self, stimuli: pd.DataFrame) -> Tensor:
        """(n_stimuli, dim) the points of pictures, among which what was seen is sought.

        Raises
        ------
        PhospheneError
            If the method tells no pictures apart.
        """
        space = self.targets().get("image")
        if space is None:
            raise PhospheneError(f"method '{self.name}' does not retrieve pictures: use another method")
        return space.table(stimuli).vectors

    def gallery(self, trials: Trials) -> Sequence[str]:
        """The stimuli, beyond those of the training, whose captions or pictures may reach what is drawn from these
        trials; none by default."""
        return ()

    def begin(self, stage: str, trials: Trials, tables: dict[str, TargetTable], inputs: Tensor | None) -> None:
        """What a gradient stage has to know of its training trials, and of its `inputs` of them, before it starts; also
        called when it goes on."""
        return

    def trained(self, stage: str) -> Iterator[nn.Parameter]:
        """The parameters that a gradient stage trains; all by default."""
        return self.parameters()

    def inputs(self, stage: str, trials: Trials) -> Tensor | None:
        """(n_trials, ...) what a gradient stage reads of each trial in place of its EEG; None is the EEG."""
        return None

    def wanted(self, stage: str) -> Collection[str]:
        """The targets whose vectors the batches of a gradient stage hold; all by default."""
        return self.targets()

    def training_step(self, batch: dict[str, Any], stage: str) -> dict[str, Tensor]:
        """Losses of one batch: `eeg` (batch, n_chans, n_times) or `inputs`, `stimulus`, `subject` (batch,), and an
        entry for each target that is `wanted`."""
        raise PhospheneError(f"method '{self.name}' has no gradient stage '{stage}'")

    def solve(self, stage: str, trials: Trials, tables: dict[str, TargetTable]) -> None:
        """Fit a closed-form stage on training trials."""
        raise PhospheneError(f"method '{self.name}' has no closed-form stage '{stage}'")

    def forward(self, batch: dict[str, Any], stage: str) -> dict[str, Tensor]:
        return self.training_step(batch, stage)

    def heads(self, eeg: Tensor, subject: Sequence[str] | None = None) -> dict[str, Tensor]:
        """``{head: (batch, dim)}`` of EEG (batch, n_chans, n_times), differentiable: what `phosphene explain` asks of.

        Parameters
        ----------
        subject : (batch,) whose trials they are, for methods that know people apart.
        """
        raise PhospheneError(f"method '{self.name}' has no heads to explain: run semantic_prompts or nice")

    @classmethod
    def has_heads(cls) -> bool:
        return cls.heads is not Method.heads

    @abstractmethod
    def encode(self, trials: Trials) -> dict[str, Tensor]:
        """Decoded vectors of each trial, by head: ``{head: (n_trials, dim)}``."""

    def condition(self, trials: Trials) -> Conditioning:
        """What a generator draws from, one entry for each trial."""
        raise PhospheneError(f"method '{self.name}' does not generate pictures: leave 'generator' out of the recipe")

    @classmethod
    def drawn_from(cls, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
        """What `condition` gives a method of these arguments, known without building it: the fields of `Conditioning`,
        with the width of embeddings and tokens, and the strength; `unet` is the row of a U-Net that the method tunes.
        {} where nothing is drawn, None where it is not known.
        """
        return None

    def shortened(self, stimuli: pd.DataFrame) -> list[str]:
        """Sentences on the captions of stimuli that are longer than the method's text encoder reads.

        Where no head is trained on captions and pictures are sought in CLIP's space, captions are sought there too.
        """
        found = {name: target for name, target in self.targets().items() if not isinstance(target, CLIPImage)}
        slots = [slot.name for slot in NAMED if slot.name in stimuli]
        if self.image_space is not None and found.keys().isdisjoint(slots):
            found |= {name: CLIPText(name, self.image_space.backbone) for name in slots}
        said = [target.shortened(stimuli) for target in found.values()]
        return list(dict.fromkeys(sentence for sentence in said if sentence))

    def drawn_by(self, generator: Generator) -> Generator:
        """The generator as this method draws with it; a method that tunes one puts its own part in."""
        return generator

    @torch.inference_mode()
    def retrieve(self, trials: Trials, gallery: Tensor, k: int = 5, head: str = "image") -> tuple[Tensor, Tensor]:
        """The ``k`` gallery rows most similar (cosine) to each trial.

        Parameters
        ----------
        gallery : (n_gallery, dim) vectors in the head's space.

        Returns
        -------
        (n_trials, k) row numbers and (n_trials, k) similarities, best first.
        """
        heads = self.encode(trials)
        if head not in heads:
            raise PhospheneError(f"method '{self.name}' has no head '{head}': it has {', '.join(heads)}")
        check_finite(heads[head], f"head '{head}' of trial")
        similarity = F.normalize(heads[head], dim=-1) @ F.normalize(gallery, dim=-1).T
        best = similarity.topk(min(k, len(gallery)), dim=1)
        return best.indices, best.values

    def save(self, folder: str | Path) -> Path:
        """Write `method.json` (name and configuration) and `model.safetensors`; whole or not at all."""
        with kept(folder) as part:
            part.mkdir()
            save_file(
                {k: v.detach().cpu().contiguous() for k, v in self.state_dict().items()}, part / "model.safetensors"
            )
            write_json(part / "method.json", {"method": self.name, "config": self.config})
        return Path(folder)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Read what `save` wrote, onto the process's device; called on `Method`, it finds the class by its name."""
        folder = Path(folder)
        if not (folder / "method.json").is_file():
            raise PhospheneError(f"{folder} holds no method (no method.json): train one with `phosphene run`")
        intact(folder, f"remove {folder} and train again")
        facts = read_json(folder / "method.json")
        if not isinstance(facts, dict) or not isinstance(facts.get("method"), str):
            raise PhospheneError(f"{folder / 'method.json'} names no method: train again")
        if not isinstance(facts.get("config"), dict):
            raise PhospheneError(f"{folder / 'method.json'} holds no config: train again")
        found = find("method", facts["method"])
        if not issubclass(found, cls):
            raise PhospheneError(f"{folder} holds a '{facts['method']}', not a '{cls.name}': load it with Method")
        try:
            method: Self = found(**facts["config"])
        except (TypeError, RuntimeError, ValueError) as error:
            if isinstance(error, PhospheneError):
                raise
            raise PhospheneError(f"{folder / 'method.json'} cannot be built ({error}): train again") from None
        try:
            method.load_state_dict(load_file(regular(folder / "model.safetensors")))
        except Exception as error:
            raise PhospheneError(f"{folder / 'model.safetensors'} cannot be read ({error}): train again") from None
        return runtime.place(method.eval())


class Classifier(Method):
    """A method that tells concepts apart, and is cheap enough to be refitted for every permutation of its scores.

    Its one head, "concept", holds (n_trials, n_concepts) probabilities in the order of `concepts`.
    """

    decodes = "concepts"
    concepts: list[str]

    @abstractmethod
    def features(self, trials: Trials) -> np.ndarray:
        """(n_trials, n_features) what it decides by."""

    @staticmethod
    @abstractmethod
    def fit_predict(features: np.ndarray, labels: np.ndarray, new: np.ndarray) -> np.ndarray:
        """(n_new,) log-odds of label 1 for ``new``, by a decoder trained on ``features`` and ``labels`` alone."""

    def labels(self, trials: Trials) -> np.ndarray:
        """(n_trials,) position of each trial's concept in `concepts`."""
        codes: np.ndarray = pd.Index(self.concepts).get_indexer(trials.table["concept"])
        if (codes < 0).any():
            odd = trials.table["concept"].iloc[int((codes < 0).argmax())]
            raise PhospheneError(f"concept '{odd}' is not one of {', '.join(self.concepts)}: name it in concepts")
        return codes


def in_batches(
    run: Callable[[Tensor, slice], T], trials: Trials, device: torch.device | str, size: int = 256
) -> Iterator[T]:
    """What is made of successive trials, whose EEG is read from disk one batch at a time.

    Parameters
    ----------
    run : of EEG (<= size, n_chans, n_times) on the device, and of which trials it is.
    size : trials at a time; half as many where memory does not suffice.

    Raises
    ------
    PhospheneError : NaN or infinity in a trial, or memory does not suffice for one.
    """

    def one(part: slice) -> T:
        eeg = torch.tensor(trials.eeg[part], device=device)
        whose = range(part.start, part.stop)
        return run(check_finite(eeg, "the EEG of trial", "leave the trial out", whose), part)

    return runtime.Batches(size, "trials decoded at a time:")(one, len(trials))


def named(subjects: list[str] | Literal[True] | None) -> list[str]:
    """Subjects with a place of their own; a run has put names in the place of True."""
    if subjects is True:
        raise PhospheneError("subjects: true is for a run, which knows them: name them here, such as ['01', '02']")
    return list(subjects or [])


def settled(
    method: str, presets: Mapping[str, dict[str, Any]], preset: str | None, given: dict[str, Any]
) -> dict[str, Any]:
    """What was given, with the preset's value for each argument that is None.

    A method keeps all of it in its `config`, and no preset, so that a saved one means the same when a preset changes.
    """
    if preset is None:
        if lacking := [key for key, value in given.items() if value is None]:
            raise PhospheneError(
                f"without a preset {method} needs {lacking[0]}: give it, or a preset ({', '.join(presets)})"
            )
        return given
    if preset not in presets:
        raise PhospheneError(f"unknown preset '{preset}' of {method}: {nearest(preset, presets)}")
    return {key: presets[preset][key] if value is None else value for key, value in given.items()}


def subject_rows(known: Sequence[str], names: Sequence[str] | None, n: int, device: torch.device | str) -> Tensor:
    """(n,) each subject's place among those ``known``; -1 for one who is not, and for all where there are no names."""
    place = {name: i for i, name in enumerate(known)}
    return torch.tensor([-1] * n if names is None else [place.get(name, -1) for name in names], device=device)
