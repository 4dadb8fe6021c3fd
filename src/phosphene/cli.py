"""The command line: a thin call of the library. Heavy imports wait until a verb needs them."""

import functools
import inspect
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from phosphene.errors import PhospheneError


class _OneLine(typer.core.TyperGroup):
    """A command that cannot be understood is answered as every other mistake is."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        words = args[0] if args else kwargs.get("args")
        for before, given in pairwise(["", *(sys.argv[1:] if words is None else words)]):
            if not given.removeprefix("--out=").removeprefix("--to=").strip():  # "" would be the folder one stands in
                self._refuse(f"empty argument{f' after {before}' if before else ''}: give a word or a path", 2)
        try:
            sys.exit(super().main(*args, **{**kwargs, "standalone_mode": False}))
        except typer.Abort:
            self._refuse("stopped", 1)
        except Exception as error:
            if not hasattr(error, "format_message"):
                raise
            context = getattr(error, "ctx", None)
            if type(error).__name__ == "NoArgsIsHelpError":
                error.show()  # type: ignore[attr-defined]
                sys.exit(2)
            help_of = "phosphene" if context is None else context.command_path
            self._refuse(f"{error.format_message().rstrip('.')} (see {help_of} --help)", 2)

    @staticmethod
    def _refuse(message: str, status: int) -> None:
        sys.stderr.write(f"phosphene: {' '.join(message.split())}\n")
        sys.exit(status)


app = typer.Typer(
    name="phosphene",
    cls=_OneLine,
    help="Decode, reconstruct and explain what a person saw, from their EEG.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"max_content_width": 120},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one recipe key; may be repeated.")
]
Device = Annotated[
    str | None,
    typer.Option("--device", metavar="NAME", help="Where models run: auto (a GPU if available), cpu, cuda:1, ..."),
]
Plugin = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin", metavar="MODULE", help="A module with further classes to register, installed or in this folder."
    ),
]
RunFolder = Annotated[Path, typer.Argument(help="A folder that `phosphene run` wrote.")]
RecipeFile = Annotated[str, typer.Argument(help="A recipe: a YAML file, or the name of a built-in recipe.")]


def _verb(example: str) -> Any:
    """A command: its help ends with an example, and a user's error is one line and exit status 2."""

    verb = example.split()[1]

    def enter(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def guarded(*args: Any, **kwargs: Any) -> None:
            try:
                if "LOCAL_RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1" and verb != "run":
                    raise PhospheneError(
                        f"'{verb}' runs in a single process (only 'run' uses several): start it without torchrun"
                    )
                if names := kwargs.pop("plugin", None):
                    from phosphene import plugins

                    plugins.load(names, here=True)
                with _on(kwargs.pop("device", None)):
                    command(*args, **kwargs)
            except PhospheneError as error:
                _stop(str(error), 2)
            except OSError as error:
                reason = error.strerror or error
                _stop(f"{error.filename}: {reason}" if error.filename else f"{reason}", 2)
            except KeyboardInterrupt:
                _stop("stopped; repeat the command to resume", 130)

        inner = inspect.signature(command)
        option = inspect.Parameter("plugin", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Plugin)
        guarded.__signature__ = inner.replace(parameters=[*inner.parameters.values(), option])  # type: ignore[attr-defined]
        guarded.__annotations__ = {**command.__annotations__, "plugin": Plugin}
        return app.command(verb, epilog=f"Example: {example}")(guarded)

    return enter


def _on(device: str | None) -> AbstractContextManager[None]:
    """A block whose models run on this device; None leaves it to the recipe."""
    if device is None:
        return nullcontext()
    from phosphene import runtime

    return runtime.using(device)


def _stop(message: str, status: int) -> None:
    sys.stderr.write(f"phosphene: {' '.join(message.split())}\n")
    raise typer.Exit(status)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


@_verb("phosphene list method")
def list_registered(
    kind: Annotated[str | None, typer.Argument(help="dataset, target, encoder, ..., backbone or recipe.")] = None,
) -> None:
    """List what is available. Datasets, targets, encoders, priors, generators, methods, backbones and recipes."""
    from phosphene.backbones.table import BACKBONES
    from phosphene.errors import nearest
    from phosphene.plugins import load_installed
    from phosphene.registry import PACKAGES, classes
    from phosphene.runs.recipe import SHIPPED, Recipe

    kinds = [*PACKAGES, "backbone", "recipe"]
    if kind is not None and kind.rstrip("s") not in kinds:
        raise PhospheneError(f"unknown kind '{kind}': {nearest(kind, kinds)}")
    load_installed()
    for name in kinds if kind is None else [kind.rstrip("s")]:
        _say(name)
        if name == "recipe":
            width = 2 + max(map(len, SHIPPED))
            for key, path in SHIPPED.items():
                _say(f"  {key:<{width}}{Recipe.read(path, {'dataset.root': '...'}).description}")
        elif name == "backbone":
            for row in BACKBONES.values():
                _say(f"  {row.name:<16}{row.kind:<10} {row.repo} ({row.licence}) {row.note}".rstrip())
        else:
            known = classes(name)
            width = 2 + max(map(len, known))
            for key, cls in known.items():
                _say(f"  {key:<{width}}{(cls.__doc__ or '').strip().splitlines()[0]}")


@_verb("phosphene simulate --out studies/red-car --n-subjects 2 --snr-db -10 --format brainvision")
def simulate(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for the study; it must not exist yet.")],
    layout: Annotated[
        str, typer.Option(help="study: recordings and tables; eegcvpr40: files as in that data set.")
    ] = "study",
    design: Annotated[
        str | None,
        typer.Option(
            help="rapid (intermixed; default of study), block (default of eegcvpr40), drift or phantom (no response)."
        ),
    ] = None,
    regions: Annotated[
        str, typer.Option(help="study only: whole; two (objects posterior, themes anterior, nothing else); or swapped.")
    ] = "whole",
    n_subjects: Annotated[int, typer.Option(help="Number of subjects (eegcvpr40: 6 by default).")] = 1,
    n_sessions: Annotated[int, typer.Option(help="Sessions per subject.")] = 1,
    n_train_pictures: Annotated[int, typer.Option(help="Number of training pictures.")] = 1200,
    n_test_pictures: Annotated[
        int, typer.Option(help="Number of test pictures; their concepts are not in training, except in block designs.")
    ] = 200,
    train_repeats: Annotated[int, typer.Option(help="Presentations of each training picture.")] = 2,
    test_repeats: Annotated[int, typer.Option(help="Presentations of each test picture.")] = 10,
    n_per_class: Annotated[int, typer.Option(help="eegcvpr40 only: pictures in each of the 40 classes.")] = 50,
    snr_db: Annotated[float | None, typer.Option(help="Single-trial signal-to-noise ratio, dB.")] = None,
    sfreq: Annotated[float, typer.Option(help="Sampling rate, Hz.")] = 250.0,
    soa: Annotated[float, typer.Option(help="Stimulus onset asynchrony, s.")] = 0.4,
    seed: Annotated[int, typer.Option(help="Random seed; the same seed gives the same study.")] = 0,
    format: Annotated[str, typer.Option(help="fif, or brainvision (a BIDS dataset).")] = "fif",
) -> None:
    """Write a simulated study. Drawn scenes and the EEG of a brain with a known code, sound or deliberately flawed."""
    from phosphene.api import study

    asked = {
        name: value
        for name, value in context.params.items()
        if name not in ("out", "layout") and str(context.get_parameter_source(name)).endswith("COMMANDLINE")
    }
    if "format" in asked:
        asked["fmt"] = asked.pop("format")
    _say(f"study: {study(out, _display(), layout=layout, **asked)}")


@_verb("phosphene prepare recipes/muse-houses-faces.yaml --set dataset.root=data/muse-visual --out trials/muse")
def prepare(
    recipe: RecipeFile, out: Annotated[Path, typer.Option(help="Folder for the trials.")], changes: Set = None
) -> None:
    """Preprocess the recordings of a recipe into trials."""
    from phosphene.runs.checks import check as check_recipe
    from phosphene.runs.preparation import prepare as prepare_trials
    from phosphene.runs.recipe import Recipe, parse_overrides

    checked = Recipe.read(recipe, parse_overrides(changes or []))
    dataset = check_recipe(checked, folds=False)
    trials = prepare_trials(checked, out, _display(), dataset)
    _say(f"trials: {out} ({len(trials)} of {trials.n_chans} channels x {trials.n_times} samples)")


@_verb("phosphene fetch things-eeg2-atm --to data/atm --only sub-08")
def fetch(
    name: Annotated[str | None, typer.Argument(help="Name of the data set; leave out to list the data sets.")] = None,
    to: Annotated[Path | None, typer.Option(help="Folder for the files; a stopped download is resumed.")] = None,
    only: Annotated[
        str | None, typer.Option(metavar="PATTERN", help="Only files whose path contains this text or pattern (*, ?).")
    ] = None,
    unpack: Annotated[bool, typer.Option("--unpack", help="Unpack zip archives too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Download without asking.")] = False,
) -> None:
    """Download a public data set. Shows licence and size first; repeat the command to resume and verify."""
    from phosphene.datasets.download import fetch as fetch_files
    from phosphene.datasets.download import table

    if name is None:
        _say(table())
        return
    if to is None:
        raise PhospheneError("no folder for the files: give --to FOLDER")

    def agree(notice: str) -> bool:
        _say(notice)
        if not yes and not sys.stdin.isatty():
            raise PhospheneError("nothing was downloaded: add --yes to agree without a prompt")
        return yes or typer.confirm("Download?")

    files = fetch_files(name, to, only, unpack_archives=unpack, agree=agree, display=_display())
    _say(f"files: {len(files)} verified in {to}" if files else "nothing was downloaded")


@_verb("phosphene caption --images pictures --by openai --set model=gpt-4.1-mini --out captions/pictures")
def caption(
    images: Annotated[Path | None, typer.Option(help="Folder of pictures.")] = None,
    stimuli: Annotated[
        Path | None, typer.Option(help="Instead of --images: a table with columns `stimulus` and `image`.")
    ] = None,
    allow_outside: Annotated[
        list[Path] | None,
        typer.Option(help="With --stimuli: another folder with pictures that the table may use; may be repeated."),
    ] = None,
    by: Annotated[str, typer.Option(help="Captioner: openai, vision_language, file or drawn.")] = "",
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="An argument of the captioner.")
    ] = None,
    slots: Annotated[Path | None, typer.Option(help="A file of slots to use instead of the ten built-in ones.")] = None,
    slot: Annotated[list[str] | None, typer.Option(help="Fill only this slot; may be repeated.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the caption table; a stopped run is resumed.")] = None,
    check: Annotated[Path | None, typer.Option(help="Check this caption folder instead of captioning.")] = None,
    human: Annotated[
        Path | None, typer.Option(help="With --check: captions written by people (CSV, TSV or JSON).")
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="With --check: the CLIP model used to count tokens and compare with people's captions."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Send pictures without asking.")] = False,
    device: Device = None,
) -> None:
    """Write or check a caption table. Captions pictures slot by slot."""
    from phosphene.captions import SLOTS, choose, pictures_in, read_slots, read_stimuli, write
    from phosphene.registry import build
    from phosphene.runs.recipe import parse_overrides
    from phosphene.utils.locks import alone

    if check is not None:
        _check_captions(check, human, backbone)
        return
    if (images is None) == (stimuli is None):
        raise PhospheneError("nothing to caption: give --images FOLDER or --stimuli TABLE")
    if out is None or not by:
        raise PhospheneError(
            "captioner or folder missing: give --by openai|vision_language|file|drawn and --out FOLDER"
        )
    table = read_stimuli(stimuli, allow_outside or ()) if stimuli is not None else pictures_in(images or "")
    chosen = choose(SLOTS if slots is None else read_slots(slots), slot or ())
    captioner = build("captioner", by, **parse_overrides(changes or []))

    def agree(notice: str) -> bool:
        _say(notice)
        if not yes and not sys.stdin.isatty():
            raise PhospheneError("nothing was sent: add --yes to agree without a prompt")
        return yes or typer.confirm("Send?")

    with alone(out), _display().bar("captions", len(table)) as tick:
        made = write(captioner, table, out, chosen, agree=agree, tick=tick)
    if total := captioner.total():
        _say(total)
    _say(f"captions: {out} ({len(made.wide())} stimuli, {len(made.slots)} slots)")
    if mute := len(made.mute()):
        _say(f"{mute} of them have no caption because no answer was usable: repeat the command to ask again")


def _check_captions(folder: Path, human: Path | None, backbone: str | None) -> None:
    from phosphene.captions import Captions, lines
    from phosphene.captions import check as look
    from phosphene.captions.tokens import counter
    from phosphene.evaluation.metrics.cider import cider
    from phosphene.utils.files import whole

    captions = Captions.read(folder)
    more: dict[str, Any] = {}
    if backbone is not None:
        from phosphene.backbones.table import load_clip
        from phosphene.targets.clip import CLIPText

        more = {"count": counter(load_clip(backbone)[2]), "embed": CLIPText(backbone=backbone).texts}
    found = look(captions, human, cider=cider, **more)
    for line in lines(found):
        _say(line)
    with whole(folder / "checks.csv") as part:
        found.to_csv(part, index=False)
    _say(f"checks: {folder / 'checks.csv'}")


@_verb("phosphene run recipes/muse-houses-faces.yaml --set dataset.root=data/muse-visual --out runs/muse")
def run(
    recipe: RecipeFile,
    changes: Set = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; a stopped run of the same recipe is resumed.")] = None,
    device: Device = None,
) -> None:
    """Run a recipe, from recording to report."""
    from phosphene.api import run as run_recipe
    from phosphene.runs.recipe import parse_overrides
    from phosphene.utils import processes

    folder = run_recipe(recipe, parse_overrides(changes or []), out, _display())
    if processes.is_main():  # of those that torchrun started
        _conclude(folder)


@_verb("phosphene check recipes/muse-houses-faces.yaml --set dataset.root=data/muse-visual")
def check(recipe: RecipeFile, changes: Set = None) -> None:
    """Check a recipe before running it. Reads no EEG and writes nothing."""
    from phosphene.runs.checks import check as check_recipe
    from phosphene.runs.recipe import Recipe, parse_overrides

    read = Recipe.read(recipe, parse_overrides(changes or []))
    check_recipe(read)
    for note in read.notes():
        _say(note)
    _say(f"{recipe}: no problems found")


@_verb("phosphene grid semantic-prompts-ablations --set dataset.root=studies/two --out runs/ablations")
def grid(
    file: Annotated[str, typer.Argument(help="A grid: a YAML file, or the name of a built-in grid.")],
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change one key in the recipe of every variant; may be repeated."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the runs; finished runs in it are kept.")] = None,
    device: Device = None,
) -> None:
    """Run variants of a recipe. Writes one table with confidence intervals and paired differences."""
    from phosphene.grid import run_grid
    from phosphene.runs.recipe import parse_overrides

    folder = run_grid(file, parse_overrides(changes or []), out, _display())
    _say((folder / "grid.md").read_text(encoding="utf-8"))
    _say(f"grid: {folder / 'grid.csv'}")


@_verb("phosphene analyse sliding-windows demo --set dataset.root=studies/one --with width=0.2 --out runs/windows")
def analyse(
    what: Annotated[
        str,
        typer.Argument(
            help="growing-windows, sliding-windows, regions, encoders (of a recipe); repeats, similarity (of a run)."
        ),
    ],
    source: Annotated[str, typer.Argument(help="A recipe, or a folder that `phosphene run` wrote.")],
    changes: Set = None,
    options: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="KEY=VALUE", help="An argument of the analysis, such as encoders=[nice,atm]."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the runs; finished runs in it are kept.")] = None,
    device: Device = None,
) -> None:
    """Run one of the analyses. Windows, regions, encoders, repeats, representational similarity: table, figure."""
    from phosphene import analyses
    from phosphene.runs.recipe import parse_overrides

    arguments = {**parse_overrides(options or [], "--with"), "display": _display()}
    if what in ("repeats", "similarity"):
        if changes or out is not None:
            raise PhospheneError(f"{what} analyses a finished run: leave out --set and --out")
    else:
        arguments |= {"overrides": parse_overrides(changes or []), **({} if out is None else {"out": out})}
    _say(f"table and figure: {analyses.call(what, source, arguments) / what}.csv, .png")


@_verb("phosphene decode runs/demo trials/new --out decoded/new")
def decode(
    run: RunFolder,
    trials: Annotated[Path, typer.Argument(help="A folder of trials that `phosphene prepare` wrote.")],
    out: Annotated[Path, typer.Option(help="Folder for the decoded vectors, the retrieved pictures and the drawings.")],
    subject: Annotated[str | None, typer.Option(help="Subject whose model to use; the first one by default.")] = None,
    device: Device = None,
) -> None:
    """Apply a trained run to other trials. Retrieves and draws a picture for each one."""
    from phosphene.runs.experiment import Experiment

    folder = Experiment.open(run, _display()).decode(trials, out, subject)
    _say(f"decoded: {folder / 'retrieved.csv'}")


@_verb("phosphene evaluate runs/demo")
def evaluate(
    run: RunFolder,
    pictures: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC", help="Metric of the drawings, instead of those in the recipe; may be repeated."),
    ] = None,
    device: Device = None,
) -> None:
    """Recompute the scores of a finished run. Uses what the run decoded and drew."""
    from phosphene.report import conclusion
    from phosphene.runs.checks import check_extras
    from phosphene.runs.experiment import Experiment
    from phosphene.runs.recipe import Recipe
    from phosphene.runs.scoring import score

    experiment = Experiment.open(run, _display())
    if pictures is not None:
        experiment.recipe = Recipe.read(experiment.recipe.model_dump(), {"evaluation.pictures": pictures})
        check_extras(experiment.recipe)
    table = score(experiment)
    _say(table.drop(columns="interval").to_string(index=False))
    for said in dict.fromkeys(table["interval"].dropna()):
        _say(said) if said else None
    for line in conclusion(run):
        _say(line)


@_verb("phosphene audit runs/demo")
def audit(
    run: RunFolder,
    n_perm: Annotated[int, typer.Option(help="Number of permutations in each test.")] = 500,
    part: Annotated[
        list[str] | None,
        typer.Option(help="Part to run: decoding, retrained or pictures; may be repeated. Default: all."),
    ] = None,
    n_pictures: Annotated[
        int, typer.Option(help="Number of test samples for which the picture controls are drawn.")
    ] = 100,
    folds: Annotated[bool, typer.Option("--folds", help="Also print a line for each fold.")] = False,
    device: Device = None,
) -> None:
    """Test whether scores reflect the pictures. Runs every control; exit status 1 if a gate fails."""
    from phosphene.audit import PARTS, failures, lines
    from phosphene.audit import audit as ask

    found = ask(run, _display(), n_perm=n_perm, parts=part or PARTS, n_pictures=n_pictures)
    for line in lines(found, folds):
        _say(line)
    _say(f"audit: {run / 'audit.json'}")
    if failed := failures(found):
        _stop(f"gates failed: {failed}", 1)


@_verb("phosphene explain runs/semantic-prompts")
def explain(run: RunFolder, device: Device = None) -> None:
    """Explain the heads of a run. Tables and figures: scalp maps, dominant heads, collapse, hallucination, t-SNE."""
    from phosphene.explain.diagnosis import explain as diagnose
    from phosphene.explain.diagnosis import lines

    folder = diagnose(run, _display())
    for line in lines(folder):
        _say(line)
    _say(f"explained: {folder}")


@_verb("phosphene compare runs/a runs/b --over both")
def compare(
    a: RunFolder,
    b: Annotated[Path, typer.Argument(help="Another run, with the same protocol and trials.")],
    over: Annotated[
        str, typer.Option(help="What the interval generalises over: stimuli, subjects or both.")
    ] = "stimuli",
    correction: Annotated[
        str, typer.Option(help="Correction of p for the number of metrics: holm, bh or by.")
    ] = "holm",
    out: Annotated[Path | None, typer.Option(help="Also write the table to this CSV file.")] = None,
) -> None:
    """Compare two runs on the same test samples. Paired differences, confidence intervals, corrected p-values."""
    from phosphene.evaluation.differences import lines
    from phosphene.runs.compare import compare_runs
    from phosphene.runs.experiment import Experiment
    from phosphene.utils.files import whole
    from phosphene.utils.paths import has_room

    if out is not None:
        has_room(out, is_file=True)
    table = compare_runs(a, b, over=over, correction=correction)  # type: ignore[arg-type]
    if out is not None:
        with whole(out) as part:
            table.to_csv(part, index=False)
    _say(table.to_string(index=False))
    for line in lines(table, Experiment.open(a).recipe.evaluation.n_perm, correction):  # type: ignore[arg-type]
        _say(line)


@_verb("phosphene report runs/demo --also runs/muse")
def report(
    run: RunFolder,
    also: Annotated[
        list[Path] | None, typer.Option(help="Another run to show on the same page; may be repeated.")
    ] = None,
) -> None:
    """Rewrite the report page of a run."""
    from phosphene.report import write_report

    _say(f"report: {write_report(run, also or ())}")


@_verb("phosphene demo --out runs/demo")
def demo(
    out: Annotated[Path, typer.Option(help="Run folder; a stopped demo is resumed.")] = Path("runs/demo"),
    muse: Annotated[
        Path | None, typer.Option(help="Folder of the `muse-visual` recordings; adds real people to the page.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed of the study and of the training.")] = 0,
    device: Device = None,
) -> None:
    """Simulate, decode and report in minutes. From a simulated recording to pictures, without downloads."""
    from phosphene.api import demo as run_demo

    run_demo(out, _display(), muse=muse, seed=seed)
    _conclude(out, *([] if muse is None else [out / "muse"]))


def _display() -> Any:
    from phosphene.utils.display import Terminal

    return Terminal()


def _conclude(folder: Path, *also: Path) -> None:
    """Print the headline scores with their controls, and the page to open."""
    from phosphene.report import conclusion

    for run in (folder, *also):
        for line in conclusion(run):
            _say(line)
    _say(f"open {folder / 'report.html'}")


def main() -> None:
    """Entry point of the command `phosphene`."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    signal.signal(signal.SIGTERM, _end)
    app()


def _end(number: int, frame: Any) -> None:
    """What a batch system sends before it kills is answered as Ctrl-C is."""
    raise KeyboardInterrupt
