"""A finished run as the report reads it: every file looked up once, and what is optional may be missing."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from phosphene.captions import NAMED
from phosphene.eeg.trials import Trials
from phosphene.errors import Damaged, PhospheneError
from phosphene.evaluation.chance import answer, rule, smallest
from phosphene.evaluation.corrections import corrected
from phosphene.evaluation.protocols import Fold
from phosphene.evaluation.retrieval import cosine, median_rank, ranks
from phosphene.evaluation.scores import COLUMNS
from phosphene.evaluation.shared import closed_set
from phosphene.report import words
from phosphene.runs.decoded import Decoded, stand_for_categories
from phosphene.runs.experiment import Experiment
from phosphene.runs.log import entries
from phosphene.utils.checksums import intact
from phosphene.utils.duplicates import KINDS
from phosphene.utils.files import read_json

_TEXT = ("subject", "protocol", "backbone", "interval")
_LATER = {"ceiling": np.nan, "p_min": np.nan, "interval": ""}  # columns that older tables lack


@dataclass
class Sample:
    """A test sample: where it is, what was seen, and how well it was read."""

    fold: Fold
    row: int  # in the fold's decoded table
    seen: pd.Series  # its row of the table
    retrieved: list[tuple[str, float]]  # stimulus and similarity, best first
    place: float = float("nan")  # of the picture seen, 1 is best; retrieval only
    score: float = float("nan")  # for the second concept, of two: log-odds, or the difference of similarities
    captions: tuple[tuple[str, str, str], ...] = ()  # level, retrieved, true


class Run:
    """What a run folder says.

    Parameters
    ----------
    folder : what `phosphene run` wrote.
    key : identifies the run in its page.

    Raises
    ------
    PhospheneError
        If a file that every finished run has is missing or damaged.
    """

    def __init__(self, folder: str | Path, key: str = "run"):
        self.folder, self.key = Path(folder), key
        self.experiment = Experiment.open(folder)
        self.recipe = self.experiment.recipe
        if not (self.folder / "trials").is_dir():
            raise PhospheneError(f"{folder} holds no trials: finish it with `phosphene run`")
        self.scores = self._table("scores.csv")
        shuffled = self.folder / "scores_shuffled.csv"
        self.scores_shuffled = self._table(shuffled.name) if shuffled.is_file() else None
        self.provenance: dict[str, Any] = self._json("provenance.json")
        self.dataset: dict[str, Any] = self._json("dataset.json")
        self.audit: list[dict[str, Any]] = self._json("audit.json").get("controls", [])
        for fold in self.folds:
            self.decoded(fold)

    def _table(self, name: str) -> pd.DataFrame:
        path = self.folder / name
        if not path.is_file():
            raise PhospheneError(f"{self.folder} has no {name}: finish it with `phosphene run` or `phosphene evaluate`")
        intact(path, "write it again with `phosphene evaluate`")
        try:
            table = pd.read_csv(path, dtype=dict.fromkeys(_TEXT, str))
            for column, absent in _LATER.items():
                table[column] = table.get(column, absent)
            numbers = ["value", "ci_low", "ci_high", "n", "chance", "shuffled", "ceiling", "p", "p_min"]
            table[numbers] = table[numbers].astype(float)
        except (ValueError, KeyError, pd.errors.ParserError) as error:
            line = " ".join(str(error).split())
            raise PhospheneError(f"{path} cannot be read ({line}): write it again with `phosphene evaluate`") from None
        table["p_min"] = table["p_min"].fillna(smallest(self.recipe.evaluation.n_perm))
        return table[list(COLUMNS)].fillna({"backbone": "", "interval": ""})

    def _json(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        facts = read_json(intact(path, "remove it and make it again")) if path.is_file() else {}
        if not isinstance(facts, dict):
            raise PhospheneError(f"{path} is not as the run wrote it: remove it and run again")
        return facts

    @cached_property
    def trials(self) -> Trials:
        """All trials: full epochs, not whitened."""
        return Trials.load(self.folder / "trials")

    @property
    def folds(self) -> list[Fold]:
        return self.experiment.folds

    def decoded(self, fold: Fold, shuffled: bool = False) -> Decoded:
        """The test samples of a fold and what was decoded of them."""
        return self.experiment.decoded(fold, shuffled)

    @cached_property
    def test(self) -> np.ndarray:
        """(n_trials,) the trials that some fold tests."""
        mask: np.ndarray = np.any([fold.test for fold in self.folds], axis=0)
        return mask

    @cached_property
    def heads(self) -> set[str]:
        return set(self.decoded(self.folds[0]).heads)

    @property
    def decodes(self) -> str:
        """What the method decodes: "pictures", "captions" or "concepts"."""
        return self.experiment.kind.decodes

    @property
    def retrieves(self) -> bool:
        """Whether single pictures are told apart, not only concepts."""
        return self.decodes != "concepts" and not self.categories

    @cached_property
    def categories(self) -> bool:
        """Whether only the category of what was seen is known, not the picture."""
        return stand_for_categories(self.experiment.gallery(self.folds[0])[0])

    @property
    def simulated(self) -> bool:
        return bool(self.dataset.get("simulated"))

    @cached_property
    def backbones(self) -> list[str]:
        """Frozen models on which the run rests."""
        named = {b for b in self.scores["backbone"] if b} | set(self.provenance.get("backbones", {}))
        return sorted(named)

    @property
    def mini(self) -> bool:
        return any("mini" in name for name in self.backbones)

    @cached_property
    def overlaps(self) -> dict[str, int]:
        """Test trials that share their stimulus, its picture, concept, ... with training, over all folds."""
        found = self.provenance.get("overlaps") or self.experiment.overlaps()
        if not any(kind in fold for kind in KINDS for fold in found.values()):  # an older run, or one without pictures
            now = self.experiment.overlaps()
            found = {fold: {**now.get(fold, {}), **counts} for fold, counts in found.items()}
        return {k: sum(int(fold[k]) for fold in found.values()) for k in next(iter(found.values()))}

    @property
    def unseen(self) -> bool:
        """Whether no test concept, and no test picture by another name, was trained on."""
        return self.overlaps.get("concept", 1) == 0 and not self.copied

    @property
    def copied(self) -> bool:
        """Whether test pictures were trained on, by whatever name."""
        return any(self.overlaps.get(kind, 0) for kind in KINDS)

    @cached_property
    def closed(self) -> int:
        """How many pictures there are if test and training show the same ones by design; else 0."""
        return closed_set(self.trials, self.folds)

    @cached_property
    def broken(self) -> pd.DataFrame:
        """Rows of `overlaps.csv` in which parts share what the protocol keeps apart."""
        path = self.folder / "overlaps.csv"
        if not path.is_file():
            return pd.DataFrame(columns=["fold", "a", "b", "unit", "n_shared", "shared"])
        table = pd.read_csv(intact(path, "remove it and run again"), keep_default_na=False)
        return table[table["broken"].astype(str) == "True"]

    @cached_property
    def gallery_size(self) -> int:
        return len(self.experiment.gallery(self.folds[0])[0])

    @cached_property
    def concepts(self) -> list[str]:
        """The decoder's concepts, in its order; the test trials' where it has none."""
        config = self._json(str((self.experiment.folder(self.folds[0]) / "model/method.json").relative_to(self.folder)))
        given = config.get("config", {}).get("concepts") if not self.retrieves else None
        return [str(c) for c in given or sorted(self.trials.table["concept"][self.test].unique())]

    @cached_property
    def simulation(self) -> dict[str, Any]:
        """Arguments of `phosphene simulate` that made the study, where it still lies at its place."""
        path = Path(str(self.recipe.dataset.get("root", ""))) / "dataset.json"
        if not self.simulated or not path.is_file():
            return {}
        return dict(read_json(path).get("parameters", {}))

    @cached_property
    def log(self) -> pd.DataFrame:
        """(epochs) rows of `log.jsonl` that have a loss."""
        rows = [row for _, row in entries(self.folder / "log.jsonl") if "loss" in row and "epoch" in row]
        return pd.DataFrame(rows, columns=["fold", "stage", "epoch", "loss", "val_loss"])

    def headline(self) -> list[pd.Series]:
        """The few scores that matter: of all subjects together where there are several. p is corrected for all."""
        return self._headline(self.scores)

    def _headline(self, scores: pd.DataFrame) -> list[pd.Series]:
        subjects = list(scores["subject"].unique())
        chosen = scores[scores["subject"].isin(["all"] if "all" in subjects else subjects)]
        chosen = chosen.assign(place=chosen["metric"].map({m: i for i, m in enumerate(words.HEADLINE)}))
        chosen = chosen.dropna(subset="place").sort_values("place", kind="stable").drop(columns="place")
        chosen["p_corrected"] = corrected(chosen["p"].to_numpy(float))
        chosen["p_min_corrected"] = corrected(chosen["p_min"].where(chosen["p"].notna()).to_numpy(float))
        chosen["n_tests"] = int(np.isfinite(chosen["p"]).sum())
        chosen["n_perm"] = self.recipe.evaluation.n_perm
        return [row for _, row in chosen.iterrows()]

    def rule(self) -> str:
        """What "above chance" means of the headline scores."""
        return rule(max((int(row["n_tests"]) for row in self.headline()), default=1))

    def control(self, row: pd.Series) -> pd.Series | None:
        """The same headline score of the shuffled control."""
        if self.scores_shuffled is None:
            return None
        same = (t for t in self._headline(self.scores_shuffled) if t["subject"] == row["subject"])
        return next((t for t in same if t["metric"] == row["metric"]), None)

    @property
    def block_confounded(self) -> bool:
        """Test trials lie in blocks of the training, in a block design, and no control has read more than the block.

        More than the block is a category of unseen classes (C1), or the picture among others of its class (C4).
        """
        if self.dataset.get("design") != "block" or not self.overlaps.get("block", 0):
            return False
        read = [c for c in self.audit if c["name"] in ("C1", "C4") and c["fold"] == "all" and c["p"] is not None]
        return not any(answer(c["p"], c.get("p_min", 0.0)) == "yes" for c in read)

    def verdict(self, row: pd.Series) -> tuple[str, str]:
        """A class and a sentence on a headline score."""
        if self.block_confounded:
            return "bad", (
                "BLOCK-CONFOUNDED: test trials come from blocks used in training, so the time of a trial may reveal "
                "its class; `phosphene audit` tests for information beyond the block (C1, C4)."
            )
        return words.verdict(row, self.control(row))

    def label(self, row: pd.Series) -> str:
        """What a headline score asks, and of whom where there are several subjects."""
        asked = words.question(row["metric"], self.gallery_size, self.unseen, self.concepts)
        several = self.scores["subject"].nunique() > 1
        whom = "all subjects" if row["subject"] == "all" else f"subject {row['subject']}"
        return f"{asked}, {whom}" if several else asked

    def similarity(self, fold: Fold, shuffled: bool = False) -> tuple[np.ndarray, np.ndarray] | None:
        """(n_samples, n_gallery) similarities and each sample's own gallery row; None if the space cannot be had."""
        try:
            gallery, truth = self.experiment.gallery(fold)
            pictures = self.experiment.method(fold).pictures(gallery).numpy()
            return cosine(self.experiment.points(fold, shuffled), pictures), truth
        except Damaged:
            raise
        except (PhospheneError, KeyError, OSError):
            return None

    @cached_property
    def places(self) -> dict[bool, np.ndarray]:
        """Place of the picture seen for every test sample, fold by fold: of the run and of its shuffled control."""
        found = {}
        for shuffled in self.experiment.trainings if self.retrieves else ():
            tables = [self.similarity(f, shuffled) for f in self.folds]
            known = [t for t in tables if t is not None]
            if len(known) == len(tables):
                found[shuffled] = np.concatenate([median_rank(ranks(s).of(truth)) for s, truth in known])
        return found

    @cached_property
    def samples(self) -> list[Sample]:
        """Every test sample, fold by fold."""
        found: list[Sample] = []
        for fold in self.folds:
            table, heads = self.decoded(fold)
            retrieved = self._retrieved(fold)
            scores = np.full(len(table), np.nan)
            if self.decodes == "concepts" and heads["concept"].shape[1] == 2:
                p = heads["concept"].numpy().astype(float).clip(1e-9, 1)
                scores = np.log(p[:, 1] / p[:, 0])
            elif self.categories and len(self.concepts) == 2 and (known := self.similarity(fold)) is not None:
                names = list(self.experiment.gallery(fold)[0]["concept"])
                first, second = (known[0][:, names.index(concept)] for concept in self.concepts)
                scores = second - first
            for i, (_, seen) in enumerate(table.iterrows()):
                found.append(Sample(fold, i, seen, retrieved[i] if i < len(retrieved) else [], score=float(scores[i])))
        for sample, place in zip(found, self.places.get(False, ()), strict=False):
            sample.place = float(place)
        return found

    def _retrieved(self, fold: Fold) -> list[list[tuple[str, float]]]:
        path = self.experiment.folder(fold) / "retrieved.csv"
        if not path.is_file():
            return []
        table = pd.read_csv(intact(path, "write it again with `phosphene evaluate`"), dtype=str, keep_default_na=False)
        k = sum(column.startswith("picture_") for column in table)
        return [
            [(row[f"picture_{j}"], float(row[f"similarity_{j}"])) for j in range(1, k + 1)]
            for _, row in table.iterrows()
        ]

    def add_captions(self, chosen: list[Sample]) -> None:
        """The nearest caption at each level for these samples, among all distinct ones of the study."""
        stimuli = self.trials.stimuli
        if not self.retrieves:
            return
        read = self.heads if self.decodes == "captions" else {slot.name for slot in NAMED}
        slots = [slot for slot in NAMED if slot.name in stimuli and slot.name in read]
        for slot in slots:
            head, texts = "image", np.unique(stimuli[slot.name].to_numpy(str))
            if slot.name in self.heads:  # the method's own gallery: the captions of the training pictures
                head = slot.name
                texts = np.array(self.experiment.captions(self.folds[0], slot.name)[0])
            try:
                space = self.experiment.method().image_space
                if space is None:
                    return
                vectors = space.texts(list(texts)).numpy()
            except Damaged:
                raise
            except (PhospheneError, KeyError, OSError):
                return
            for sample in chosen:
                decoded = self.decoded(sample.fold).heads[head].numpy()[[sample.row]]
                best = str(texts[int(cosine(decoded, vectors)[0].argmax())])
                true = str(stimuli.loc[sample.seen["stimulus"], slot.name])
                sample.captions += ((slot.level, best, true),)

    def config(self) -> str:
        """The recipe as it was run."""
        return yaml.safe_dump(self.recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def goodness(self, sample: Sample) -> float:
        """Larger for a sample that was read better: above 0 if rightly, where concepts are decided."""
        if self.retrieves:
            return -sample.place
        if len(self.concepts) == 2:
            return sample.score if sample.seen["concept"] == self.concepts[1] else -sample.score
        first = sample.retrieved[0][0] if sample.retrieved else ""
        stimuli = self.trials.stimuli
        right = first in stimuli.index and stimuli.loc[first, "concept"] == sample.seen["concept"]
        return 1.0 if right else -1.0

    def spread(self, n: int) -> list[Sample]:
        """``n`` samples evenly spaced from the best read one to the worst; the first ones if nothing orders them."""
        samples = self.samples
        if self.retrieves and not self.places:
            return samples[:n]
        ordered = sorted(samples, key=self.goodness, reverse=True)
        at = np.unique(np.linspace(0, len(ordered) - 1, min(n, len(ordered))).round().astype(int))
        return [ordered[i] for i in at]

    @cached_property
    def reach(self) -> float:
        """The largest decision score, either side."""
        return max((abs(s.score) for s in self.samples if np.isfinite(s.score)), default=1.0)
