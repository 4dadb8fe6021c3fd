"""What a user starts with one call: run a recipe, simulate a study, run the demo."""

import inspect
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

from phosphene.errors import PhospheneError, nearest
from phosphene.report import write_report
from phosphene.runs.experiment import Experiment
from phosphene.runs.recipe import Recipe
from phosphene.runs.scoring import score
from phosphene.utils import processes
from phosphene.utils.locks import alone
from phosphene.utils.paths import default_out
from phosphene.utils.progress import Display, Silent

DEMO_SNR_DB = -12.0  # single trials; kinder than the simulator's default, so that drawings can be judged by eye


def run(
    recipe: str | Path | Mapping[str, Any],
    overrides: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    display: Display | None = None,
) -> Path:
    """Run a recipe to its report: ``run("recipes/muse-houses-faces.yaml", {"dataset.root": ...}, out="runs/muse")``.

    Of several processes all train, and the main one does the rest.

    Parameters
    ----------
    recipe : a YAML file, or the same as a mapping.
    overrides : dotted keys of the recipe and their values.
    out : the run folder; default `runs/<name of the recipe>`. A stopped run of the same recipe is continued.
    display : where the main process shows progress; nowhere by default.

    Returns
    -------
    The run folder.
    """
    checked = Recipe.read(recipe, overrides)
    shown = display if display is not None and processes.is_main() else Silent()
    folder = _scored(checked, default_out(checked.name, "the recipe's name") if out is None else out, shown)
    if processes.is_main():
        write_report(folder)
    return folder


def _scored(recipe: Recipe, out: str | Path, display: Display) -> Path:
    experiment = Experiment(recipe, out, display)
    with alone(experiment.out) if processes.is_main() else nullcontext():
        experiment.run()
        if processes.is_main():
            score(experiment)
    return experiment.out


def study(out: str | Path, display: Display, *, layout: str = "study", **parameters: Any) -> Path:
    """A simulated study, with a progress bar.

    Parameters
    ----------
    layout : "study" is `phosphene.simulate.study.simulate`, "eegcvpr40" that of
        `phosphene.datasets.eegcvpr40.simulated`.
    parameters : their arguments.
    """
    simulate: Callable[..., Path]
    if layout == "study":
        from phosphene.simulate.study import simulate
    elif layout == "eegcvpr40":
        from phosphene.datasets.eegcvpr40.simulated import simulate
    else:
        raise PhospheneError(f"unknown layout '{layout}': {nearest(layout, ('study', 'eegcvpr40'))}")
    known = inspect.signature(simulate).parameters
    for name in parameters:
        if name not in known:
            option = "format" if name == "fmt" else name.replace("_", "-")
            raise PhospheneError(f"--{option} is not an option of layout '{layout}': leave it out")
    with ExitStack() as stack:
        stack.enter_context(alone(out))
        bar, done = None, 0

        def heard(now: int, total: int, what: str) -> None:
            nonlocal bar, done
            bar = bar or stack.enter_context(display.bar("simulating", total))
            bar(now - done)
            done = now

        return simulate(out, progress=heard, **parameters)


def demo(out: str | Path, display: Display, *, muse: str | Path | None = None, seed: int = 0) -> Path:
    """Simulate, preprocess, train, retrieve, draw, score and report, in ``out``; a stopped demo is continued.

    Parameters
    ----------
    muse : the `muse-visual` folder; its houses-and-faces run becomes a second section of the page.
    seed : of the simulated study and of the training.
    """
    out = Path(out)
    folder = study(out / "study", display, seed=seed, snr_db=DEMO_SNR_DB)
    overrides = {"dataset.root": str(folder), "protocol.seed": seed}
    _scored(Recipe.read("demo", overrides), out, display)
    real = [] if muse is None else [run("muse-houses-faces", {"dataset.root": str(muse)}, out / "muse", display)]
    write_report(out, real)
    return out
