"""`phosphene explain RUN`: what each head listens to, which head leads, and whether heads or drawings show a fault."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from phosphene.captions import LEVEL_OF
from phosphene.eeg.trials import read_table
from phosphene.errors import Damaged, PhospheneError
from phosphene.evaluation.protocols import Fold
from phosphene.explain import attribution, collapse, contrast, dominance, embedding, figures, hallucination, topography
from phosphene.runs.experiment import Experiment
from phosphene.utils.checksums import intact, keep_json, kept
from phosphene.utils.files import read_json
from phosphene.utils.locks import alone
from phosphene.utils.pictures import open_picture
from phosphene.utils.progress import Display, Silent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 1000  # trials of a fold, drawn at random, behind a covariance or a map
WINDOW = (0.04, None)  # s; before it no response is possible


class Diagnosis:
    """A trained run with differentiable heads, and the folder `explain/` of what is found in it.

    Parameters
    ----------
    experiment : a finished run.

    Raises
    ------
    PhospheneError
        If the run is not trained, or its method has no heads.
    """

    def __init__(self, experiment: Experiment):
        self.experiment, self.seed = experiment, experiment.protocol.seed
        self.folder = experiment.out / "explain"
        method = experiment.method()
        if not method.has_heads():
            raise PhospheneError(f"method '{method.name}' has no heads to explain: run semantic_prompts or nice")
        self.facts: dict[str, Any] = {"seed": self.seed, "protocol": experiment.protocol.hash, "left_out": {}}

    # -- what heads listen to ----------------------------------------------------------------------

    def maps(self, shuffled: bool = False) -> topography.Topography:
        """Absolute maps of every head and subject: the test trials' gradients, through the whitener's inverse."""
        patterns: dict[str, list[np.ndarray]] = {}
        subjects: list[str] = []
        for fold in self.experiment.folds:
            found, whose = self._patterns(fold, shuffled)
            for head, pattern in found.items():
                patterns.setdefault(head, []).append(pattern)
            subjects += whose
        signal = self.experiment.trials.signal
        first, last = WINDOW[0], signal.times(self.experiment.trials.n_times)[-1] + 1 / signal.sfreq
        joined = {head: np.concatenate(parts) for head, parts in patterns.items()}
        return topography.topography(joined, signal, subjects=subjects, window=(max(first, signal.tmin), float(last)))

    def _patterns(self, fold: Fold, shuffled: bool) -> tuple[dict[str, np.ndarray], list[str]]:
        """Patterns of a fold's test trials by head, and their subjects."""
        experiment = self.experiment
        (train, _, test), whiteners = experiment.samples(fold)
        test, method = test.select(_some(len(test), [self.seed, 81])), experiment.method(fold, shuffled)
        subjects = test.table["subject"].tolist()
        targets = {
            head: target.table(test.stimuli)[test.table["stimulus"]] for head, target in method.targets().items()
        }
        found = attribution.attribute(
            method.heads,
            np.asarray(test.eeg[:]),
            targets,
            subject=subjects,
        )
        if whiteners:
            operators, place = topography.inverses(whiteners, test.table)
        else:  # the model reads volts
            some = np.asarray(train.eeg[_some(len(train), [self.seed, 82])], np.float64)
            operators, place = (
                np.cov(some.transpose(1, 0, 2).reshape(train.n_chans, -1))[None],
                np.zeros(len(test), int),
            )
        patterns = {head: topography.to_scalp(g, operators, place).astype(np.float32) for head, g in found.items()}
        return patterns, subjects

    def truth(self) -> dict[str, Any] | None:
        """The sources of each subject, where the study is simulated and at hand."""
        path = Path(str(self.experiment.recipe.dataset.get("root", ""))).expanduser() / "dataset.json"
        found = read_json(path).get("truth") if path.is_file() else None
        return found if isinstance(found, dict) and all(found.values()) else None

    def map_heads(self) -> None:
        """Maps by head and level, theme minus object, and how they compare with sources that are known."""
        maps = self.maps()
        self._table("maps", maps.frame())
        self.facts["maps"] = maps.facts()
        drawn = self.experiment.trials.signal.positions is not None
        if drawn:
            self._figure("heads", lambda: figures.maps(maps))
        if not set(maps.maps) <= set(LEVEL_OF):
            return
        levels = maps.by_level(LEVEL_OF)
        self._table("levels", levels.frame())
        if drawn:
            self._figure("levels", lambda: figures.maps(levels))
        if not {"thematic", "object"} <= set(levels.maps):
            return
        difference = contrast.level_contrast(levels)
        self._table("contrast", difference.frame())
        if drawn:
            self._figure("contrast", lambda: figures.contrast(difference))
        truth = self.truth()
        if truth is not None:
            checks = [difference.check(truth).assign(of="run")]
            if True in self.experiment.trainings:
                control = contrast.level_contrast(self.maps(shuffled=True).by_level(LEVEL_OF))
                checks.append(control.check(truth).assign(of="shuffled control"))
            self._table("truth", pd.concat(checks, ignore_index=True))

    # -- what heads say ----------------------------------------------------------------------------

    def compare_heads(self) -> None:
        """Dominant heads, collapse, and t-SNE of the decoded heads."""
        decoded, targets, table = self._decoded()
        stimulus = table["stimulus"].to_numpy(str)
        self._try("dominance", lambda: self._dominance(decoded, targets, stimulus))
        self._try("collapse", lambda: self._collapse(decoded, targets, stimulus))
        self._try("tsne", lambda: self._tsne(decoded, table))

    def _decoded(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], pd.DataFrame]:
        """Decoded vectors and vectors of what was shown, by head, and the table, all folds together."""
        decoded: dict[str, list[np.ndarray]] = {}
        targets: dict[str, list[np.ndarray]] = {}
        tables = []
        for fold in self.experiment.folds:
            table, heads = self.experiment.decoded(fold)
            for head, target in self.experiment.method(fold).targets().items():
                decoded.setdefault(head, []).append(heads[head].numpy())
                shown = self.experiment.trials.stimuli.loc[list(dict.fromkeys(table["stimulus"]))]
                targets.setdefault(head, []).append(target.table(shown)[table["stimulus"]].numpy())
            tables.append(table)
        joined = [{head: np.concatenate(parts) for head, parts in each.items()} for each in (decoded, targets)]
        return joined[0], joined[1], pd.concat(tables, ignore_index=True)

    def _dominance(self, decoded: Any, targets: Any, stimulus: np.ndarray) -> None:
        found = dominance.dominance(decoded, targets, stimulus, seed=self.seed)
        self._table("dominance", found.table)
        self._figure("dominance", lambda: figures.dominant(found))

    def _collapse(self, decoded: Any, targets: Any, stimulus: np.ndarray) -> None:
        levels = LEVEL_OF if set(decoded) <= set(LEVEL_OF) else None
        found = collapse.collapse(decoded, targets, stimulus, levels, seed=self.seed)
        self._table("cka", found.frame())
        self.facts["collapse"] = found.facts()
        self._figure("cka", lambda: figures.overlap(found))

    def _tsne(self, decoded: Any, table: pd.DataFrame) -> None:
        perplexity = min(30.0, len(table) / 4)
        found = embedding.embed(decoded, table["concept"].to_numpy(str), perplexity=perplexity, seed=self.seed)
        self._table("tsne", found.table)
        self.facts["tsne"] = found.facts()
        self._figure("tsne", lambda: figures.scatter(found))

    # -- what is drawn -----------------------------------------------------------------------------

    def draw(self) -> None:
        """Semantic hallucination: drawings that are sharp and show something else; drawn scenes have a judge."""
        experiment, stimuli = self.experiment, self.experiment.trials.stimuli
        if experiment.recipe.generator is None or "object" not in stimuli:
            self.facts["left_out"]["hallucination"] = "no drawing of a scene that the judge knows"
            return
        pictures, names = [], []
        for fold in experiment.folds:
            table = experiment.decoded(fold).table
            for i, name in enumerate(table["stimulus"]):
                for d in range(experiment.recipe.evaluation.draws):
                    pictures.append(experiment.drawing(fold, i, d))
                    names.append(str(name))
        judge, seen = hallucination.scene_judge("object"), stimuli.loc[list(dict.fromkeys(names))]
        found = hallucination.hallucination(
            judge(pictures),
            stimuli["object"][names].to_numpy(str),
            judge([open_picture(path) for path in seen["image"]]),
            seen["object"].to_numpy(str),
            stimulus=np.array(names),
            seed=self.seed,
        )
        self._table("drawings", found.table)
        self.facts["hallucination"] = found.facts()

    # -- files -------------------------------------------------------------------------------------

    def _try(self, name: str, step: Callable[[], None]) -> None:
        try:
            step()
        except Damaged:
            raise
        except PhospheneError as error:  # too few pictures, heads or captions for this question
            self.facts["left_out"][name] = str(error)

    def _table(self, name: str, table: pd.DataFrame) -> None:
        with kept(self.folder / f"{name}.csv") as part:
            table.to_csv(part, index=False)

    def _figure(self, name: str, made: Callable[[], "Figure"]) -> None:
        with kept(self.folder / f"{name}.png") as part:
            made().savefig(part, format="png", dpi=110)


def explain(folder: str | Path, display: Display | None = None) -> Path:
    """Explain a finished run: tables, facts and figures go to `explain/` in it.

    Returns
    -------
    That folder: `maps.csv`, `levels.csv`, `contrast.csv`, `truth.csv` (simulated studies), `dominance.csv`, `cka.csv`,
    `tsne.csv`, `drawings.csv`, `explain.json`, and figures of the same names.
    """
    experiment = Experiment.open(folder, display or Silent())
    found = Diagnosis(experiment)
    steps = (found.map_heads, found.compare_heads, found.draw)
    with alone(experiment.out), experiment.display.bar("explaining", len(steps)) as bar:
        for step in steps:
            step()
            bar(1)
        keep_json(found.folder / "explain.json", found.facts)
    return found.folder


def lines(folder: str | Path) -> list[str]:
    """What was found, a line for each question."""
    folder = Path(folder)
    facts, said = read_json(intact(folder, "explain the run again") / "explain.json"), []
    if (folder / "truth.csv").is_file():
        for _, row in read_table(folder / "truth.csv").iterrows():
            whose = f"{row['of']}, subject {row['subject']}"
            said.append(f"maps, {whose}: theme minus object tells the louder source with AUC {float(row['auc']):.2f}")
    if (folder / "dominance.csv").is_file():
        table = pd.read_csv(folder / "dominance.csv").sort_values("share", ascending=False)
        leads = ", ".join(
            f"{r['head']} {100 * r['share']:.0f} % (chance {100 * r['chance']:.0f})"
            for _, r in table.head(3).iterrows()
        )
        said.append(f"dominant heads: {leads}")
    if "collapse" in facts:
        c = facts["collapse"]
        verdict = "collapsed" if c["collapsed"] else "not collapsed"
        said.append(f"heads: {verdict} (index {c['index']:.2f}, {c['ci_low']:.2f} to {c['ci_high']:.2f})")
    if "hallucination" in facts:
        h = facts["hallucination"]
        verdict = "hallucinates" if h["hallucinates"] else "does not hallucinate"
        said.append(
            f"generator: {verdict} ({100 * h['rate']:.0f} % sharp and wrong, shuffled {100 * h['shuffled']:.0f} %)"
        )
    return said + [f"{what}: left out, {why}" for what, why in facts["left_out"].items()]


def _some(n: int, seed: list[int]) -> np.ndarray:
    """(n,) or (`MOST`,) rows, drawn at random and in order."""
    return np.sort(np.random.default_rng(seed).permutation(n)[:MOST])
