"""How methods are trained: the settings of their stages, and `fit`, which runs them in order."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from phosphene import runtime
from phosphene.eeg.trials import Trials
from phosphene.errors import PhospheneError, nearest
from phosphene.methods.base import Method
from phosphene.training.settings import Samples, Stage
from phosphene.utils import processes


class Training(Stage):
    """How a method is trained.

    Parameters
    ----------
    epochs, batch_size, accumulate, lr, betas, weight_decay, decays, schedule, warmup, patience, clip, precision, ema,
    checkpoint_every : of every gradient stage, see `Stage`.
    stages : by the name of a stage, what is otherwise there.
    """

    stages: dict[str, dict[str, Any]] = Field(default_factory=dict)

    def of(self, stage: str) -> Stage:
        """The settings of one stage."""
        try:
            return Stage(**{**self.model_dump(exclude={"stages"}), **self.stages.get(stage, {})})
        except ValidationError as error:
            fault = error.errors()[0]
            key = str(fault["loc"][0])
            fix = nearest(key, Stage.model_fields) if fault["type"] == "extra_forbidden" else fault["msg"]
            raise PhospheneError(f"training.stages.{stage}.{key}: {fix}") from None

    def check(self, stages: Collection[str], method: str) -> None:
        """Refuse settings of a stage that the method does not train."""
        for stage in self.stages:
            if stage not in stages:
                raise PhospheneError(
                    f"training.stages: '{method}' trains no '{stage}': {nearest(stage, stages)} "
                    f"(training.stages.{stage}=null takes its settings away)"
                )
            self.of(stage)


def fit(
    method: Method,
    train: Trials,
    val: Trials | None = None,
    *,
    settings: Training | None = None,
    select_on: str = "val",
    seed: int = 0,
    folder: str | Path | None = None,
    cache: str | Path | None = None,
    log: Callable[[dict[str, Any]], None] = lambda row: None,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Method:
    """Fit every stage of a method, in order.

    Parameters
    ----------
    train, val : disjoint trials; ``val`` may only select the epoch, and no test trial ever comes here.
    settings : see `Training`.
    select_on : "val" keeps the epoch with the smallest validation loss, "last" the last one. "test" does not exist.
    seed : of initialisation-independent randomness: order of the trials and dropout.
    folder : where checkpoints go; a call with the same folder continues where the last one stopped, to the same end.
    cache : folder of target tables, see `Target.table`.
    log : hears a dict for each epoch, again for one that was not yet in a checkpoint; only in the main process.
    progress : hears (stage, epochs done, epochs in all).

    Returns
    -------
    The method, in evaluation mode, on the device of the process (`phosphene.runtime`).
    """
    from phosphene.training.loop import descend  # brings accelerate, which whoever only reads a recipe does without

    if select_on not in ("val", "last"):
        raise PhospheneError(f"select_on is '{select_on}': valid: val, last")
    if len(train) == 0:
        raise PhospheneError("there is no training trial: check protocol.split")
    settings = settings or Training()
    settings.check([stage for stage in method.stages if stage not in method.solved], method.name)
    used = set(train.table["stimulus"]) | (set() if val is None else set(val.table["stimulus"]))
    stimuli = train.stimuli[train.stimuli.index.isin(used)]
    with processes.main_first():  # it fills the cache
        tables = {name: target.table(stimuli, cache) for name, target in method.targets().items()}
    log = log if processes.is_main() else lambda row: None
    for stage in method.stages:
        if stage in method.solved:
            method.solve(stage, train, tables)
            log({"stage": stage, "epoch": 1})
            continue
        own = {name: tables[name] for name in method.wanted(stage)}
        samples = Samples(train, own, method.inputs(stage, train))
        held = None if val is None or len(val) == 0 else Samples(val, own, method.inputs(stage, val))
        method.begin(stage, train, tables, samples.inputs)
        descend(
            method,
            stage,
            samples,
            held,
            settings.of(stage),
            select_on,
            seed,
            None if folder is None else Path(folder) / stage,
            log,
            progress,
        )
    return runtime.place(method.eval())
