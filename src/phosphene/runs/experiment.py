"""One recipe to one run folder: prepare, train, decode, draw. Every finished piece is kept, so that an
interrupted run continues where it stopped."""

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.numpy
import torch
import yaml
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from phosphene import runtime
from phosphene.captions import join
from phosphene.datasets.base import Dataset
from phosphene.eeg.lazy import lazy, read
from phosphene.eeg.trials import Trials, read_table
from phosphene.eeg.whitening import Whitener, whiten, whitened_by
from phosphene.errors import PhospheneError, nearest
from phosphene.evaluation import power
from phosphene.evaluation.metrics.chosen import network as metrics_network
from phosphene.evaluation.protocols import Fold, overlap_table, overlaps
from phosphene.generators.base import Conditioning, Generator
from phosphene.methods.base import Method
from phosphene.registry import build, find
from phosphene.runs import provenance
from phosphene.runs.checks import check, check_concepts
from phosphene.runs.decoded import Decoded, check_heads, keep_decoded, nearest_pictures, pictured, stand_for_categories
from phosphene.runs.drawing import draw_missing, open_drawing
from phosphene.runs.log import EpochLog
from phosphene.runs.preparation import as_trained, cut, dataset_of, prepared, shuffle_stimuli
from phosphene.runs.recipe import Recipe, Runtime
from phosphene.training.fit import fit
from phosphene.utils import processes
from phosphene.utils.checksums import MADE, SUMS, finished, intact, keep_json, kept, summary
from phosphene.utils.duplicates import same_pictures
from phosphene.utils.files import parse_yaml, read_json, write_json
from phosphene.utils.locks import alone
from phosphene.utils.paths import folder_name, has_room, only_own
from phosphene.utils.progress import Bar, Display, Silent

#: what a run, or what comes before it in `phosphene demo` and in a grid, may have left in a folder without config.yaml
HELD = {"study", "trials", "dataset.json", "audit", "folds", SUMS}
_RESTORE = "restore it, or choose another --out"
log = logging.getLogger(__name__)


class Experiment:
    """A run folder and what is in it.

    ```
    config.yaml  provenance.json  log.jsonl  trials/  folds/<subject>-<fold>[-shuffled]/{checkpoints,model,decoded}
    images/  scores.csv  scores_shuffled.csv  report.html
    ```

    Parameters
    ----------
    recipe : what is run.
    out : the run folder; new, or one of the same recipe, which is continued.
    display : where progress is shown.
    """

    def __init__(self, recipe: Recipe, out: str | Path, display: Display | None = None):
        self.recipe, self.out, self.display = recipe, Path(out), display or Silent()
        self.protocol, self.log = recipe.protocol, EpochLog(self.out / "log.jsonl")
        self._read: dict[tuple[str, str, bool], Decoded] = {}
        has_room(self.out)
        path = intact(self.out / "config.yaml", _RESTORE)
        try:
            before = parse_yaml(path.read_text(encoding="utf-8")) if path.is_file() else None
        except ValueError:
            raise PhospheneError(f"{path} is not readable: remove {self.out} or choose another --out") from None
        if path.is_file() and Recipe.filled(before) != recipe.what():
            raise PhospheneError(f"{self.out} holds a run of another recipe: choose another --out or remove it")
        runtime.follow(recipe.runtime.device, recipe.runtime.precision)

    @property
    def kind(self) -> type[Method]:
        """The class of the recipe's method; none is built."""
        return find("method", self.recipe.method["name"])

    def _config(self) -> dict[str, Any]:
        return self.recipe.model_dump(mode="json")

    @classmethod
    def open(cls, folder: str | Path, display: Display | None = None) -> "Experiment":
        """The experiment of an existing run folder; where it ran on a device that is not here, on one that is."""
        path = Path(folder) / "config.yaml"
        if not path.is_file():
            raise PhospheneError(f"{folder} is not a run folder (no config.yaml): give what `phosphene run` wrote")
        recipe = Recipe.read(intact(path, _RESTORE))
        if not runtime.is_here(recipe.runtime.device):
            recipe = recipe.model_copy(update={"runtime": recipe.runtime.model_copy(update={"device": "auto"})})
        return cls(recipe, folder, display)

    def run(self) -> Path:
        """Every stage that is not done yet; scores and page are made of what they leave.

        Of several processes all train, and the main one does the rest.

        Raises
        ------
        PhospheneError
            Another process works in the folder, or whatever the recipe asks for cannot be.
        """
        with alone(self.out) if processes.is_main() else nullcontext():
            return self._run()

    def _run(self) -> Path:
        runtime.device()  # what cannot be is refused now, not after the training
        only_own(self.out, "config.yaml", HELD)
        dataset = check(self.recipe, data=not (self.out / "trials").is_dir())
        for name in self.recipe.evaluation.pictures if processes.is_main() else ():
            metrics_network(name)  # weights that are missing are told now
        with processes.main_first():
            self._same_data()
            self.prepare(for_scores=True, dataset=dataset)
            self._keep_where()
        if processes.is_main():
            self.note(self.recipe.notes())
            for note in self._power():
                log.warning(note)
        self.train()
        if processes.is_main():
            self.draw()
        return self.out

    def _power(self) -> list[str]:
        """What the scores will not be able to say; known before the training."""
        concepts, first = self.kind.decodes == "concepts", self.folds[0]
        seen = self.protocol.among(self.trials, first, self.trials.table["stimulus"][first.test].to_numpy())
        subjects = len({fold.subject for fold in self.folds})
        return power.notes(
            self.trials.table,
            self.folds,
            split=self.recipe.dataset.get("split"),
            categories=concepts or stand_for_categories(seen.stimuli),
            n_perm=self.recipe.evaluation.n_perm,
            n_tests=2 * subjects if concepts else 4 if self.recipe.generator is None else 6,
        )

    # -- data ----------------------------------------------------------------------------------

    def prepare(self, for_scores: bool = False, dataset: Dataset | None = None) -> Path:
        """`trials/`: preprocessed, not yet whitened; ``for_scores`` as in `adopt`, ``dataset`` where it is open."""
        folder = self.out / "trials"
        if not folder.is_dir():
            trials, dataset = prepared(self.recipe, self.display, dataset)
            facts = {fact: getattr(dataset, fact) for fact in ("licence", "citation", "design", "simulated")}
            facts |= {"name": self.recipe.dataset["name"], "fingerprint": dataset.fingerprint()}
            if self.recipe.captions is not None:
                facts["captions"] = join.fingerprint(self.recipe.captions)
            self.adopt(trials, facts, for_scores)
        return folder

    def _check_parts(self, trials: Trials, for_scores: bool) -> None:
        """Refuses trials that the recipe's window, channels or protocol cannot be had of, before anything is kept."""
        seen = self._windowed(trials)
        if self.recipe.silenced_outside is not None:
            cut(seen, self.recipe.silenced_outside, "silenced_outside")
        for number, fold in enumerate(self.protocol.folds(seen)):
            self.folder(fold)
            if for_scores:
                check_concepts(self.recipe, fold, seen.table)
            if number == 0:  # the others are built alike
                self._method(seen, seen.table[fold.train], **self.kind.light)

    def _keep_where(self) -> None:
        """A run that goes on elsewhere says so in `config.yaml`, from which it is opened."""
        before, now = parse_yaml((self.out / "config.yaml").read_text(encoding="utf-8")), self._config()["runtime"]
        if processes.is_main() and before.get("runtime", Runtime().model_dump()) != now:
            self._keep({**before, "runtime": now})

    def _keep(self, config: dict[str, Any]) -> None:
        with kept(self.out / "config.yaml") as part:
            part.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")

    def adopt(self, trials: Trials, facts: dict[str, Any], for_scores: bool = False) -> None:
        """Begin the run folder with these trials and what is known of their source.

        ``for_scores``: refuse more or fewer concepts than the method can be scored on; the audit asks of any number.
        """
        self._check_parts(trials, for_scores)
        self._keep(self._config())
        keep_json(self.out / "dataset.json", facts)
        trials.save(self.out / "trials")

    def _same_data(self) -> None:
        """Refuses to go on with trials whose source is another by now; a source that is gone is no matter."""
        path = intact(self.out / "dataset.json", f"remove it and {self.out / 'trials'}, and run again")
        facts = read_json(path) if path.is_file() else {}
        if not isinstance(facts, dict):
            raise PhospheneError(f"{path} is not as the run wrote it: choose another --out, or remove {self.out}")
        captions = self.recipe.captions
        told = facts.get("captions")
        if captions is not None and told and join.is_there(captions) and join.fingerprint(captions) != told:
            raise PhospheneError(
                f"captions {captions} have changed since {self.out} was prepared: choose another --out, or remove it"
            )
        known = facts.get("fingerprint")
        root = Path(str(self.recipe.dataset.get("root", ""))).expanduser()
        if not known or not (self.out / "trials").is_dir() or not root.is_dir():
            return
        if dataset_of(self.recipe).fingerprint() != known:
            raise PhospheneError(
                f"the files under {root} have changed since {self.out} was prepared: choose another --out, or remove it"
            )

    @cached_property
    def trials(self) -> Trials:
        """All trials, in the method's window and of its channels."""
        return self._windowed(Trials.load(self.prepare()))

    def _windowed(self, trials: Trials) -> Trials:
        if self.recipe.channels is not None:
            trials = trials.pick(self.recipe.channels)
        return cut(trials, self.recipe.window or (None, None), "window")

    def _silenced(self, trials: Trials) -> Trials:
        """The trials, 0 outside of the recipe's `silenced_outside`; large ones stay on disk."""
        if self.recipe.silenced_outside is None:
            return trials
        heard = cut(trials, self.recipe.silenced_outside, "silenced_outside")
        first = round((heard.signal.tmin - trials.signal.tmin) * trials.signal.sfreq)
        kept = np.zeros(trials.n_times, np.float32)
        kept[first : first + heard.n_times] = 1
        return replace(trials, eeg=read(lazy(trials.eeg).map(lambda x, _: x * kept)))

    @cached_property
    def folds(self) -> list[Fold]:
        return list(self.protocol.folds(self.trials))

    def folder(self, fold: Fold, shuffled: bool = False) -> Path:
        subject = folder_name(fold.subject, "subject")
        return self.out / "folds" / f"{subject}-{fold.name.replace('/', '.')}{'-shuffled' if shuffled else ''}"

    @property
    def trainings(self) -> tuple[bool, ...]:
        return (False, True) if self.recipe.evaluation.shuffled_control else (False,)

    # -- training and decoding -------------------------------------------------------------------

    def train(self) -> None:
        """A method for each fold, and its shuffled control; both decode the same test trials."""
        if processes.is_main():
            if not (self.out / "provenance.json").is_file():
                provenance.write(self.out / "provenance.json", self.recipe, self.trials, self.overlaps())
            if not (self.out / "overlaps.csv").is_file():
                with kept(self.out / "overlaps.csv") as part:
                    overlap_table(self.protocol, self.trials).to_csv(part, index=False)
        todo = [(f, t) for f in self.folds for t in self.trainings if not (self.folder(f, t) / "decoded").is_dir()]
        processes.wait()  # all have looked before one writes
        method = self.kind
        epochs = sum(self.recipe.training.of(s).epochs for s in method.stages if s not in method.solved)
        with self.display.bar("training", len(todo) * max(1, epochs)) as bar:
            for fold, shuffled in todo:
                bar(max(1, epochs) - self._train(fold, shuffled, bar))  # it may stop early, and have fewer stages

    def overlaps(self) -> dict[str, dict[str, int]]:
        """For each fold, how many test trials share a stimulus, its picture, concept, run, ... with training."""
        shown = set(self.trials.table["stimulus"])
        if "image" in self.trials.stimuli:  # once for all folds, and for whoever asks afterwards
            with self.display.bar("comparing pictures", len(shown)) as bar:
                same_pictures(self.trials.stimuli, shown, bar)
        return {f"{f.subject}-{f.name}": overlaps(self.trials, f) for f in self.folds}

    def _train(self, fold: Fold, shuffled: bool, bar: Bar) -> int:
        """Train one fold and, in the main process, decode it; how many epochs the bar was told of."""
        told = 0

        def progress(stage: str, done: int, total: int) -> None:
            nonlocal told
            told += 1
            bar(1)

        folder = self.folder(fold, shuffled)
        if processes.is_main():
            provenance.ran(self.out / "provenance.json")
        (train, val, test), whiteners = self.samples(fold)
        if processes.is_main() and whiteners and not (folder / "whitening.safetensors").is_file():
            with kept(folder / "whitening.safetensors") as part:
                save_file({"/".join(k): torch.from_numpy(w.whitening_) for k, w in whiteners.items()}, part)
        if shuffled:
            train = shuffle_stimuli(train, self.protocol.seed)
            val = None if val is None else shuffle_stimuli(val, self.protocol.seed)
        if (folder / "model").is_dir():
            method = Method.from_pretrained(folder / "model")
        else:
            method = self._method(train, train.table)
            if processes.is_main():
                self.note(method.shortened(self.trials.stimuli))
            fit(
                method,
                train,
                val,
                settings=self.recipe.training,
                select_on=self.protocol.select_on,
                seed=self.protocol.seed,
                folder=folder / "checkpoints",
                log=lambda row: self.log.add({"fold": folder.name, **row}),
                progress=progress,
            )
            if processes.is_main():
                method.save(folder / "model")
        if not processes.is_main():
            return told
        heads = method.encode(test)
        check_heads(heads)  # before anything is made of them
        drawn = None if self.recipe.generator is None else method.condition(test)
        keep_decoded(folder / "decoded", test.table, heads, drawn)
        return told

    def samples(self, fold: Fold) -> tuple[tuple[Trials, Trials | None, Trials], dict[tuple[str, str], Whitener]]:
        """What a method is given of a fold (training, validation if any, test; whitened, repeats averaged), and the
        whitening of each session."""
        trials = self.trials
        whiteners: dict[tuple[str, str], Whitener] = {}
        if self.recipe.whitening is not None:
            trials, whiteners = whiten(trials, fold.train, self.recipe.whitening)
        trials = self._silenced(trials)
        train = self.protocol.samples(trials.select(fold.train), "train")
        val = self.protocol.samples(trials.select(fold.val), "train") if fold.val.any() else None
        return (train, val, self.protocol.samples(trials.select(fold.test), "test")), whiteners

    def _method(self, shape: Trials, train: pd.DataFrame, **others: Any) -> Method:
        """The recipe's method for trials of this shape, of which those of the table ``train`` are trained on."""
        arguments = {**self.recipe.method, **others}
        if arguments.get("subjects") is True:  # those of the training trials
            arguments["subjects"] = sorted(train["subject"].unique())
        torch.manual_seed(self.protocol.seed)
        facts = self.kind.taken(
            n_chans=shape.n_chans,
            n_times=shape.n_times,
            sfreq=shape.signal.sfreq,
            concepts=sorted(train["concept"].unique()),
        )
        method: Method = build("method", **facts, **arguments)
        return method

    def decoded(self, fold: Fold, shuffled: bool = False) -> Decoded:
        """The test samples and what was decoded of them; read once, and not to be changed."""
        key = (fold.subject, fold.name, shuffled)
        if key not in self._read:
            folder = self._decoded_folder(fold, shuffled)
            self._read[key] = Decoded(read_table(folder / "table.csv"), self._tensors(folder, "head."))
        return self._read[key]

    def _decoded_folder(self, fold: Fold, shuffled: bool) -> Path:
        folder = self.folder(fold, shuffled) / "decoded"
        if not folder.is_dir():
            raise PhospheneError(f"{self.out} is not trained yet: finish it with `phosphene run`")
        return intact(folder, f"remove {folder} and run again")

    @staticmethod
    def _tensors(folder: Path, prefix: str) -> dict[str, torch.Tensor]:
        """Those of `decoded.safetensors` whose names begin so, by the rest of their names."""
        try:
            with safe_open(folder / "decoded.safetensors", "pt") as file:
                names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
                return {name.removeprefix(prefix): file.get_tensor(name) for name in names}
        except (SafetensorError, OSError, ValueError) as error:
            raise PhospheneError(f"{folder} cannot be read ({error}): remove it and run again") from None

    def points(self, fold: Fold, shuffled: bool = False) -> np.ndarray:
        """(n_samples, dim) what was decoded of the test samples, to be compared with `Method.pictures`."""
        return np.asarray(self.method(fold, shuffled).points(self.decoded(fold, shuffled).heads))

    def conditioning(self, fold: Fold, shuffled: bool = False) -> Conditioning:
        """What the test samples are drawn from."""
        folder = self._decoded_folder(fold, shuffled)
        path = folder / "condition.json"
        return Conditioning.unpacked(self._tensors(folder, "condition."), read_json(path) if path.is_file() else {})

    def method(self, fold: Fold | None = None, shuffled: bool = False) -> Method:
        """The trained method of a fold; of the first one by default."""
        return Method.from_pretrained(self.folder(fold or self.folds[0], shuffled) / "model")

    def gallery(self, fold: Fold) -> tuple[pd.DataFrame, np.ndarray]:
        """The stimulus rows among which a test trial's picture is sought, and the row of each test sample's own."""
        table = self.decoded(fold).table
        pictures = "all" if self.protocol.gallery == "all" else "test"  # concepts are made of the test pictures
        protocol = self.protocol.model_copy(update={"gallery": pictures})
        found = protocol.among(self.trials, fold, table["stimulus"])
        return found.stimuli, found.truth

    def captions(self, fold: Fold, slot: str, part: str = "train") -> tuple[list[str], np.ndarray]:
        """The distinct captions of a slot in the "train" or "test" part, and each test sample's own; -1 if absent."""
        stimuli = self.trials.stimuli[slot].astype(str)
        names = self.trials.table["stimulus"][fold.train if part == "train" else fold.test]
        captions = sorted(set(stimuli[names]))
        row = {caption: i for i, caption in enumerate(captions)}
        table = self.decoded(fold).table
        return captions, np.array([row.get(stimuli[name], -1) for name in table["stimulus"]])

    def caption_concepts(self, fold: Fold, slot: str, captions: Sequence[str]) -> tuple[np.ndarray, list[str]]:
        """(n_captions, n_concepts) whether training said a caption of a picture of a concept, and the concepts."""
        trained = self.trials.table[fold.train].drop_duplicates("stimulus")
        classes = sorted(set(trained["concept"]))
        said = self.trials.stimuli[slot].astype(str)[trained["stimulus"]]
        shown = np.zeros((len(captions), len(classes)), bool)
        shown[pd.Index(captions).get_indexer(said), pd.Index(classes).get_indexer(trained["concept"])] = True
        return shown, classes

    def retrieve(self, fold: Fold, k: int = 5) -> pd.DataFrame:
        """For each test sample its table row and the nearest pictures of the gallery: `picture_1`, `similarity_1`, ...

        Where only the concept is decoded or known, the gallery is every picture of the study.
        """
        table, heads = self.decoded(fold)
        shown = self.trials.stimuli if self.kind.decodes == "concepts" else self.gallery(fold)[0]
        if not pictured(shown).any():  # categories: the pictures of the study stand for them
            shown = self.trials.stimuli
        return nearest_pictures(self.method(fold), table, heads, shown, k)

    # -- pictures --------------------------------------------------------------------------------

    def draw(self) -> None:
        """`images/<fold>/<trial>-<draw>.png` for every test trial; real EEG and shuffled control share the noise."""
        if self.recipe.generator is None:
            return
        plain, draws, jobs = self.generator(), self.recipe.evaluation.draws, []
        for fold, shuffled in [(f, t) for f in self.folds for t in self.trainings]:
            paths = [self.picture(fold, i, shuffled=shuffled) for i in range(len(self.decoded(fold, shuffled).table))]
            jobs.append((fold, shuffled, paths))
        with self.display.bar("drawing pictures", sum(len(paths) for _, _, paths in jobs)) as bar:
            for fold, shuffled, paths in jobs:
                if all(path.is_file() for path in paths):
                    bar(len(paths))
                    continue
                provenance.ran(self.out / "provenance.json")
                own, conditioning = self.method(fold, shuffled).drawn_by(plain), self.conditioning(fold, shuffled)
                if conditioning.prompt is not None and (cut := own.shortened(conditioning.prompt)):
                    self.note([f"{self.folder(fold, shuffled).name}, {cut}"])
                draw_missing(own, conditioning, paths, range(len(paths)), self.protocol.seed, draws, bar)

    @property
    def notes(self) -> list[str]:
        """What training and drawing had to say, for the page: `notes.json`."""
        path = intact(self.out / "notes.json", "remove it")
        return [str(note) for note in read_json(path)] if path.is_file() else []

    def note(self, sentences: Sequence[str]) -> None:
        """Tell it now, and keep it."""
        new = [sentence for sentence in dict.fromkeys(sentences) if sentence not in self.notes]
        for sentence in new:
            log.warning(sentence)
        if new:
            keep_json(self.out / "notes.json", [*self.notes, *new])

    def generator(self) -> Generator:
        """The recipe's generator; each fold's method draws with what its `drawn_by` makes of it."""
        if self.recipe.generator is None:
            raise PhospheneError("the recipe has no generator: add one to draw pictures")
        generator: Generator = build("generator", **self.recipe.generator)
        return generator

    def picture(self, fold: Fold, trial: int, draw: int = 0, shuffled: bool = False) -> Path:
        """Where the picture drawn from one test trial lies."""
        return self.out / "images" / self.folder(fold, shuffled).name / f"{trial:05d}-{draw}.png"

    def drawing(self, fold: Fold, trial: int, draw: int = 0, shuffled: bool = False) -> Image.Image:
        """The picture drawn from one test trial."""
        return open_drawing(self.picture(fold, trial, draw, shuffled))

    # -- other trials ----------------------------------------------------------------------------

    def decode(self, trials: str | Path | Trials, out: str | Path, subject: str | None = None) -> Path:
        """Apply a trained fold to other trials: `decoded.safetensors`, `retrieved.csv` and, with a generator, pictures.

        Parameters
        ----------
        trials : trials preprocessed as this run's were, or the folder they were saved in.
        out : new folder, whole or absent; one that the same call made is left as it is.
        subject : whose model; None takes the first fold's. Sessions that training did not see are whitened by the mean
            operator of that fold.
        """
        out = Path(out)
        has_room(out)
        with alone(out):
            return self._decode(trials, out, subject)

    def _decode(self, trials: str | Path | Trials, out: Path, subject: str | None) -> Path:
        source, trials = trials, trials if isinstance(trials, Trials) else Trials.load(trials)
        subjects = [f.subject for f in self.folds]
        if subject is not None and subject not in subjects:
            raise PhospheneError(f"no model for subject '{subject}': {nearest(subject, subjects)}")
        fold = self.folds[0 if subject is None else subjects.index(subject)]
        made_of = None  # cannot be told
        if not isinstance(source, Trials) and (sums := summary(Path(source))):
            made_of = {"trials": sums, "model": summary(self.folder(fold) / "model"), **self.recipe.what()}
        if finished(out, made_of):
            return out
        trials = as_trained(trials, self.trials, self.trials.select(fold.train))
        if self.recipe.whitening is not None:
            path = self.folder(fold) / "whitening.safetensors"
            try:
                trials = whitened_by(safetensors.numpy.load_file(intact(path, "remove it and run again")), trials)
            except (SafetensorError, OSError) as error:
                raise PhospheneError(f"{path} cannot be read ({error}): run again") from None
        samples = self.protocol.samples(self._silenced(trials), "test")
        method = self.method(fold)
        heads = method.encode(samples)
        check_heads(heads)
        with kept(out) as part:
            part.mkdir()
            if made_of is not None:
                write_json(part / MADE, made_of)
            save_file({f"head.{k}": v.contiguous() for k, v in heads.items()}, part / "decoded.safetensors")
            nearest_pictures(method, samples.table, heads, self.trials.stimuli).to_csv(
                part / "retrieved.csv", index=False
            )
            if self.recipe.generator is not None:
                paths = [part / "images" / f"{i:05d}-0.png" for i in range(len(samples))]
                with self.display.bar("drawing pictures", len(paths)) as bar:
                    own, numbers = method.drawn_by(self.generator()), range(len(paths))
                    draw_missing(own, method.condition(samples), paths, numbers, self.protocol.seed, bar=bar)
        return out
