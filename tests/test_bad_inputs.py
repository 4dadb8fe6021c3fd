"""Bad inputs to the program, one kind after another: each is one line that names the fix, with exit status 2, and
leaves nothing behind."""

import json
import logging
import os
import re
import shlex
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import small_studies
from conftest import without_checksums
from phosphene.cli import app

Spoil = Callable[[], object]
PROGRESS = re.compile(r"[^\n]*\d done in [^\n]*\n")


class Bad(NamedTuple):
    """A command, in a folder that `small_studies.write` made, what was done to that folder, and words of the answer."""

    name: str
    command: str
    words: str
    spoils: tuple[Spoil, ...] = ()


def bad(name: str, command: str, words: str, *spoils: Spoil) -> Bad:
    return Bad(name, command, words, spoils)


def put(path: str, content: str | bytes) -> Spoil:
    def spoil() -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content.encode() if isinstance(content, str) else content)

    return spoil


def edit(path: str, old: str, new: str, count: int = -1) -> Spoil:
    def spoil() -> None:
        text = Path(path).read_text()
        assert old in text
        Path(path).write_text(text.replace(old, new, count))

    return spoil


def line(path: str, number: int, text: str) -> Spoil:
    """One line of a table in place of another; past its end, one more."""

    def spoil() -> None:
        lines = Path(path).read_text().splitlines()
        lines[number - 1 : number] = [text]
        Path(path).write_text("\n".join(lines) + "\n")

    return spoil


def encoded(path: str, encoding: str, old: str = "", new: str = "") -> Spoil:
    return lambda: Path(path).write_bytes(Path(path).read_text().replace(old, new).encode(encoding))


def changed(path: str = "study/eeg.npy", **how: Callable[[np.ndarray], np.ndarray]) -> Spoil:
    return lambda: np.save(path, how["to"](np.load(path)))


def signal(folder: str = "study", **facts: object) -> Spoil:
    def spoil() -> None:
        path = Path(folder, "signal.json")
        path.write_text(json.dumps(json.loads(path.read_text()) | facts))

    return spoil


def gone(path: str) -> Spoil:
    return lambda: shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink()


def folder(path: str) -> Spoil:
    """A folder where a file is expected."""
    return lambda: (Path(path).unlink(missing_ok=True), Path(path).mkdir())


def pipe(path: str) -> Spoil:
    return lambda: (Path(path).unlink(missing_ok=True), os.mkfifo(path))


def link(path: str, to: str) -> Spoil:
    return lambda: (Path(path).unlink(missing_ok=True), Path(path).symlink_to(to))


def cut(path: str, share: float = 0.5) -> Spoil:
    def spoil() -> None:
        content = Path(path).read_bytes()
        Path(path).write_bytes(content[: int(share * len(content))])

    return spoil


def first(pattern: str, spoil: Callable[[str], Spoil]) -> Spoil:
    """What to do to the first file of a pattern."""
    return lambda: spoil(str(min(Path().glob(pattern))))()


def one(place: tuple, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def to(x: np.ndarray) -> np.ndarray:
        x = x.copy()
        x[place] = value
        return x

    return to


RUN, PREPARE, BIDS = "run lda.yaml --out out", "prepare lda.yaml --out out", "prepare bids.yaml --out out"
TABLE, STIMULI = "study/table.csv", "study/stimuli.csv"
BASE = "bids/sub-01/eeg/sub-01_task-see_run-01"
EVENTS, CHANS = f"{BASE}_events.tsv", f"{BASE}_channels.tsv"


def sets(*rows: tuple[str, str, str], command: str = RUN) -> list[Bad]:
    return [bad(name, f"{command} --set '{value}'", words) for name, value, words in rows]


RECIPES = [
    *sets(
        ("a seed of nan", "protocol.seed=.nan", "protocol.seed"),
        ("a seed that is negative", "protocol.seed=-1", "protocol.seed: Input should be greater than or equal to 0"),
        ("a seed that is a word", "protocol.seed=two", "protocol.seed"),
        ("a seed too large", "protocol.seed=99999999999", "protocol.seed"),
        ("a seed of true", "protocol.seed=true", "protocol.seed"),
        ("permutations of none", "evaluation.n_perm=0", "evaluation.n_perm: Input should be greater than 0"),
        ("permutations of inf", "evaluation.n_perm=.inf", "evaluation.n_perm"),
        ("permutations of true", "evaluation.n_perm=true", "evaluation.n_perm"),
        ("draws of a half", "evaluation.draws=0.5", "evaluation.draws"),
        ("bootstrap of minus", "evaluation.n_boot=-5", "evaluation.n_boot"),
        ("a shuffled control of perhaps", "evaluation.shuffled_control=perhaps", "evaluation.shuffled_control"),
        ("unknown key of evaluation", "evaluation.n_perms=9", "did you mean 'n_perm'?"),
        ("unknown key of protocol", "protocol.sed=9", "did you mean 'seed'?"),
        ("unknown key of training", "training.epoch=9", "did you mean 'epochs'?"),
        ("unknown key at the top", "whitning=time", "did you mean 'whitening'?"),
        ("unknown key of dataset", "dataset.rooot=x", "did you mean 'root'?"),
        ("select on test", "protocol.select_on=test", "use val or last"),
        ("gallery of train", "protocol.gallery=train", "use test, concept, within_concept or all"),
        ("an unknown split", "protocol.split=leave_one_out", "leave_one_run_out"),
        ("an unknown gallery", "protocol.gallery=everything", "'test', 'concept'"),
        ("share of all", "protocol.val_fraction=1", "less than 1"),
        ("share of nan", "protocol.val_fraction=.nan", "protocol.val_fraction"),
        ("test share without leak", "protocol.test_fraction=0.2", "leaky_random_trials"),
        ("given beside given", "protocol.and_given=true", "and_given"),
        ("average of minus", "protocol.average_train=-1", "protocol.average_train"),
        ("epochs of none", "training.epochs=0", "training.epochs"),
        ("epochs of nan", "training.epochs=.nan", "training.epochs"),
        ("a rate of zero", "training.lr=0", "training.lr"),
        ("a rate of nan", "training.lr=.nan", "training.lr"),
        ("a rate of inf", "training.lr=.inf", "training.lr"),
        ("a rate of true", "training.lr=true", "training.lr"),
        ("a clip of nan", "training.clip=.nan", "training.clip"),
        ("a decay of inf", "training.weight_decay=.inf", "training.weight_decay"),
        ("betas of one", "training.betas=[0.9, 1]", "below 1"),
        ("betas of three", "training.betas=[0.9, 0.9, 0.9]", "training.betas"),
        ("an unknown precision", "training.precision=fp8", "training.precision"),
        ("a batch of one", "training.batch_size=1", "training.batch_size"),
        ("stages of a method without", "training.stages.align.epochs=3", "trains no 'align'"),
        ("a window of one edge", "window=[0]", "window"),
        ("a window of words", "window=[a, b]", "window"),
        ("a window of nan", "window=[.nan, 0.1]", "window"),
        ("a window turned round", "window=[0.1, 0.0]", "let it end later"),
        ("a window of no length", "window=[0.05, 0.05]", "window"),
        ("a window beyond", "window=[0, 5]", "window edge 5 s lies outside the trials"),
        ("silence of inf", "silenced_outside=[0, .inf]", "silenced_outside"),
        ("silence turned round", "silenced_outside=[0.05, 0]", "let it end later"),
        ("channels of none", "channels=[]", "channels"),
        ("channels as a word", "channels=Oz", "channels"),
        ("channels unknown", "channels=[Oz, Ox]", "did you mean 'Oz'?"),
        ("channels twice", "channels=[Oz, Oz]", "name each once"),
        ("channels of numbers", "channels=[1, 2]", "channels"),
        ("a method as a word", "method=lda", "method"),
        ("a method as a list", "method.name=[lda]", "give the name of one method"),
        ("a method as null", "method=null", "method"),
        ("a dataset as null", "dataset=null", "dataset"),
        ("a dataset without name", "dataset.name=null", "dataset.name"),
        ("a dataset misspelt", "dataset.name=array", "did you mean 'arrays'?"),
        ("a generator misspelt", "generator.name=nearst", "did you mean 'nearest'?"),
        ("a generator without name", "generator={}", "generator has no 'name'"),
        ("a name of a list", "name=[a]", "name"),
        ("a name of nothing", "name=null", "name"),
        ("captions of a number", "captions=3", "captions"),
        ("captions that are nowhere", "captions=nowhere.csv", "captions"),
        ("whitening of lda", "whitening=time", "set whitening to null"),
        ("averages of lda", "protocol.average_test=0", "protocol.average_test to 1"),
        ("a key of a value", "name.x=1", "'name' is a single value"),
        ("a subject unknown", "dataset.subject=sub-1", "was not found under"),
        ("a subject of nothing", "dataset.subject=[]", "dataset.subject"),
    ),
    *[
        bad("an override without value", f"{RUN} --set protocol.seed", "is not key=value"),
        bad("an override of nothing", f"{RUN} --set =3", "is not key=value"),
        bad("an override of broken YAML", f"{RUN} --set 'name=[a'", "quote it"),
        bad("an override of an alias", f"{RUN} --set 'name=*a'", "quote it"),
        bad("no recipe", "run nowhere.yaml --out out", "does not exist"),
        bad("a shipped recipe misspelt", "run dmo --out out", "did you mean 'demo'?"),
        bad("a recipe in latin-1", "run x.yaml --out out", "x.yaml", put("x.yaml", "name: caf\xe9".encode("latin-1"))),
        bad("a recipe of nothing", "run x.yaml --out out", "not a recipe", put("x.yaml", "")),
        bad("a recipe of a list", "run x.yaml --out out", "not a recipe", put("x.yaml", "- a\n- b\n")),
        bad("a recipe with tabs", "run x.yaml --out out", "not readable YAML", put("x.yaml", "name:\n\t- a\n")),
        bad("a recipe of bytes", "run x.yaml --out out", "x.yaml", put("x.yaml", bytes(range(256)))),
        bad(
            "a recipe without method",
            "run x.yaml --out out",
            "'method' is missing",
            put("x.yaml", "name: x\ndataset: {name: arrays, root: study}\n"),
        ),
        bad(
            "a recipe without dataset",
            "run x.yaml --out out",
            "'dataset' is missing",
            put("x.yaml", "name: x\nmethod: {name: lda}\n"),
        ),
        bad("a recipe that is a folder", "run study --out out", "is a folder, not a regular file"),
        bad("a recipe that is a device", "run /dev/null --out out", "is a device or socket"),
        bad("a recipe that is a pipe", "run x.yaml --out out", "is a pipe", pipe("x.yaml")),
        bad(
            "a recipe of two texts",
            "run x.yaml --out out",
            "not readable YAML",
            put("x.yaml", "name: a\n---\nname: b\n"),
        ),
        bad("a recipe that names a folder above", "run lda.yaml --set name=../up", "cannot name a folder"),
        bad("a recipe that names a hidden folder", "run lda.yaml --set name=.git", "cannot name a folder"),
    ],
]

PREPROCESSING = sets(
    ("tmin of nan", "preprocessing.tmin=.nan", "tmin"),
    ("tmax of inf", "preprocessing.tmax=.inf", "tmax"),
    ("tmax of true", "preprocessing.tmax=true", "tmax"),
    ("a rate of minus", "preprocessing.sfreq=-100", "sfreq: Input should be greater than 0"),
    ("a rate of nan", "preprocessing.sfreq=.nan", "sfreq: give a finite number"),
    ("a rate of inf", "preprocessing.sfreq=.inf", "sfreq"),
    ("a rate of true", "preprocessing.sfreq=true", "sfreq"),
    ("rejection of zero", "preprocessing.reject=0", "reject: Input should be greater than 0"),
    ("rejection of all", "preprocessing.reject=1e-9", "raise preprocessing.reject"),
    ("a baseline of one edge", "preprocessing.baseline=[0]", "baseline"),
    ("a baseline of words", "preprocessing.baseline=[early, late]", "baseline"),
    ("a baseline beyond", "preprocessing.baseline=[-3, -2]", "baseline"),
    ("a baseline turned round", "preprocessing.baseline=[0.0, -0.1]", "baseline"),
    ("a phase of linear", "preprocessing.phase=linear", "phase"),
    ("a montage misspelt", "preprocessing.montage=standard_1006", "unknown montage 'standard_1006'"),
    ("picks misspelt", "preprocessing.picks=[Oz, Zz]", "channel 'Zz'"),
    ("picks twice", "preprocessing.picks=[Oz, Oz]", "Oz"),
    ("picks of none", "preprocessing.picks=[]", "picks"),
    ("picks as a number", "preprocessing.picks=3", "picks"),
    ("types misspelt", "preprocessing.channel_types={Oz: egg}", "no type of channel"),
    ("types of a stranger", "preprocessing.channel_types={Ox: eog}", "did you mean 'Oz'?"),
    ("types of a list", "preprocessing.channel_types=[eeg]", "channel_types"),
    ("renamed to another", "preprocessing.rename={Fz: Cz}", "Cz"),
    ("renamed from a stranger", "preprocessing.rename={Ox: Cz}", "cannot rename channel 'Ox'"),
    ("rename of a list", "preprocessing.rename=[Fz]", "rename"),
    ("reference misspelt", "preprocessing.reference=Ox", "did you mean 'Oz'?"),
    ("a filter of nan", "preprocessing.l_freq=.nan", "l_freq: give a finite number"),
    ("a notch of true", "preprocessing.notch=true", "notch"),
    ("unknown step", "preprocessing.filter=1", "unknown key 'filter' of preprocessing"),
    command=PREPARE,
)

TABLES = [
    bad("no rows", PREPARE, "table.csv", put(TABLE, "stimulus,concept\n")),
    bad("nothing", PREPARE, "table.csv", put(TABLE, "")),
    bad("in utf-16 without a mark", PREPARE, "table.csv", encoded(TABLE, "utf-16-le")),
    bad("in latin-1", PREPARE, "table.csv", encoded(TABLE, "latin-1", "a0", "caf\xe9")),
    bad("one cell too many", PREPARE, "line 3", line(TABLE, 3, "01,01,01,1.0,a0,a,0,train,extra,more")),
    bad("one cell too few", PREPARE, "line 3", line(TABLE, 3, "01,01,01,1.0,a0")),
    bad("a column twice", PREPARE, "two columns 'stimulus'", edit(TABLE, "subject,", "stimulus,", 1)),
    bad("no stimulus column", PREPARE, "no column 'stimulus'", edit(TABLE, "stimulus", "stim", 1)),
    bad("an empty stimulus", PREPARE, "line 2", edit(TABLE, ",a0,", ",,", 1)),
    bad("a stimulus of n/a", PREPARE, "line 2", edit(TABLE, ",a0,", ",n/a,", 1)),
    bad("an empty subject", PREPARE, "subject", line(TABLE, 3, ",01,01,01,1.0,a0,a,0,train")),
    bad("a stimulus unknown", PREPARE, "a00", edit(TABLE, ",a0,", ",a00,", 1)),
    bad("a repeat that is a word", PREPARE, "repeat", edit(TABLE, ",a,0,", ",a,first,", 1)),
    bad("a split misspelt", RUN, "name the parts train, test and val", edit(TABLE, ",test", ",tset", 1)),
    bad("no test part", RUN, "no trial is named a test trial", edit(TABLE, ",test", ",train")),
    bad("no training part", RUN, "no trial is named a training trial", edit(TABLE, ",train", ",test")),
    bad("a row more", PREPARE, "25 rows", line(TABLE, 26, "01,01,03,01,9.0,a0,a,9,test")),
    bad("a quote that never ends", PREPARE, "table.csv", edit(TABLE, ",a0,", ',"a0,', 1)),
    bad("bytes of zero", PREPARE, "table.csv", edit(TABLE, ",a0,", ",a\0b,", 1)),
    bad("a web page", PREPARE, "table.csv", put(TABLE, "<!DOCTYPE html>\n<html><body>404</body></html>\n")),
    bad("a workbook", PREPARE, "table.csv", put(TABLE, b"PK\x03\x04" + bytes(60))),
    bad("a stimulus twice", PREPARE, "'a0' twice", edit(STIMULI, "a1,", "a0,", 1)),
    bad("stimuli without name", PREPARE, "stimuli.csv", edit(STIMULI, "stimulus,", "name,", 1)),
    bad("stimuli without concept", PREPARE, "concept", edit(STIMULI, "b0.png,b", "b0.png,", 1)),
    bad("stimuli of one row", PREPARE, "no picture", put(STIMULI, "stimulus,image,concept\na0,pictures/a0.png,a\n")),
    bad("an image that is absent", PREPARE, "pictures/b9.png", edit(STIMULI, "pictures/b0.png", "pictures/b9.png")),
    bad("an image above", PREPARE, "lies outside of", edit(STIMULI, "pictures/b0.png", "../pictures/b0.png")),
    bad("an image of the system", PREPARE, "lies outside of", edit(STIMULI, "pictures/b0.png", "/etc/hostname")),
    bad("an image that is a folder", PREPARE, "pictures", edit(STIMULI, "pictures/b0.png", "pictures")),
    bad("an image of n/a", PREPARE, "b0", edit(STIMULI, "pictures/b0.png", "n/a")),
    bad("a name that leads out", RUN, "cannot name a folder", edit(TABLE, "01,01,0", "../01,01,0")),
    bad("table is a pipe", PREPARE, "is a pipe", pipe(TABLE)),
    bad("table is a folder", PREPARE, "not a regular file", folder(TABLE)),
    bad("table is a device", PREPARE, "table.csv", link(TABLE, "/dev/zero")),
    bad("table links in a circle", PREPARE, "table.csv", link(TABLE, "table.csv")),
    *sets(
        ("another event column", "dataset.event=stimulos", "did you mean 'stimulus'?"),
        ("another table", "dataset.table=tables.csv", "tables.csv"),
        ("keep of nothing", "dataset.keep={concept: [z]}", "no row has concept = z"),
        ("keep of a stranger", "dataset.keep={colour: a}", "no column 'colour'"),
        ("keep of a list", "dataset.keep=[a]", "keep"),
        ("split of a share above 1", "dataset.split={concept: 1.5}", "share"),
        ("split of a share of nan", "dataset.split={concept: .nan}", "split: give a finite number"),
        ("split of nothing", "dataset.split={}", "split"),
        ("split of a share of 0", "dataset.split={stimulus: 0}", "share"),
        ("split of a minus share", "dataset.split={stimulus: -0.2}", "share"),
        ("split of all", "dataset.split={stimulus: 1}", "above 0 and below 1"),
        ("split of a stranger", "dataset.split={colour: [red]}", "colour"),
        ("split of an unknown value", 'dataset.split={run: ["09"]}', "no run is '09'"),
        ("split of true", "dataset.split={concept: true}", "not true or false"),
        command=PREPARE,
    ),
]

ARRAYS = [
    bad("no trial", PREPARE, "eeg.npy", changed(to=lambda x: x[:0])),
    bad("no sample", PREPARE, "eeg.npy", changed(to=lambda x: x[:, :, :0])),
    bad("one sample", RUN, "eeg.npy", changed(to=lambda x: x[:, :, :1])),
    bad("on its side", PREPARE, "transpose", changed(to=lambda x: x.transpose(0, 2, 1))),
    bad("one axis", PREPARE, "eeg.npy", changed(to=np.ravel)),
    bad("text", PREPARE, "eeg.npy", changed(to=lambda x: x.astype(str))),
    bad("truth values", PREPARE, "eeg.npy", changed(to=lambda x: x > 0)),
    bad("complex", PREPARE, "eeg.npy", changed(to=lambda x: x + 1j)),
    bad("dates", PREPARE, "eeg.npy", changed(to=lambda x: (1e9 * x).astype("datetime64[s]"))),
    bad("infinite", PREPARE, "trial 3 (from 0)", changed(to=one((3, 2, 1), np.inf))),
    bad("nan at the end", PREPARE, "trial 23 (from 0)", changed(to=one((23, 7, 19), np.nan))),
    bad("all nan", PREPARE, "trial 0 (from 0)", changed(to=lambda x: x * np.nan)),
    bad("constant", PREPARE, "eeg.npy", changed(to=lambda x: np.ones_like(x))),
    bad("microvolts", PREPARE, "set dataset.unit to uV", changed(to=lambda x: 1e6 * x)),
    bad("millivolts", PREPARE, "eeg.npy", changed(to=lambda x: 1e3 * x)),
    bad(
        "one channel in microvolts",
        PREPARE,
        "'Oz'",
        changed(to=lambda x: x * np.where(np.arange(8) == 3, 1e6, 1)[:, None]),
    ),
    bad(
        "one channel in nanovolts",
        PREPARE,
        "'Oz'",
        changed(to=lambda x: x * np.where(np.arange(8) == 3, 1e-6, 1)[:, None]),
    ),
    bad(
        "one run in microvolts",
        PREPARE,
        "run",
        changed(to=lambda x: x * np.where(np.arange(24) < 8, 1e6, 1)[:, None, None]),
    ),
    bad("too large for float32", PREPARE, "eeg.npy", changed(to=lambda x: x.astype(np.float64) * 1e300)),
    bad("cut off", PREPARE, "eeg.npy", cut("study/eeg.npy")),
    bad("nothing in the file", PREPARE, "eeg.npy", put("study/eeg.npy", "")),
    bad(
        "a zip archive",
        PREPARE,
        "eeg.npy",
        lambda: np.savez("study/x", a=np.zeros(3)),
        lambda: os.replace("study/x.npz", "study/eeg.npy"),
    ),
    bad("a file missing", PREPARE, "eeg.npy does not exist", gone("study/eeg.npy")),
    bad("a pipe in its place", PREPARE, "is a pipe", pipe("study/eeg.npy")),
    bad("a folder in its place", PREPARE, "is a folder", folder("study/eeg.npy")),
    bad("a pipe beside it", PREPARE, "is a pipe", pipe("study/pictures/more.png")),
    bad("channels too few", PREPARE, "ch_names", signal(ch_names=["Fz"])),
    bad("channels twice", PREPARE, "named twice", signal(ch_names=["Fz"] * 8)),
    bad("channels that are numbers", PREPARE, "ch_names", signal(ch_names=7)),
    bad("channels of none", PREPARE, "ch_names", signal(ch_names=[])),
    bad("channels without names", PREPARE, "ch_names", signal(ch_names=["", *small_studies.CHANNELS[1:]])),
    bad(
        "channels that are no electrodes",
        PREPARE,
        "channel_types",
        signal(ch_names=["EOG1", "EOG2", "ECG", "EMG", "GSR", "Resp", "Battery", "Photo"]),
    ),
    bad("rate of zero", PREPARE, "sfreq is 0", signal(sfreq=0)),
    bad("rate of nan", PREPARE, "sfreq", signal(sfreq=float("nan"))),
    bad("rate of inf", PREPARE, "sfreq", signal(sfreq=float("inf"))),
    bad("rate of true", PREPARE, "sfreq", signal(sfreq=True)),
    bad("rate as a word", PREPARE, "sfreq", signal(sfreq="fast")),
    bad("rate as a list", PREPARE, "sfreq", signal(sfreq=[100])),
    bad("begin of nan", PREPARE, "tmin", signal(tmin=float("nan"))),
    bad("begin as a word", PREPARE, "tmin", signal(tmin="early")),
    bad("unit unknown", PREPARE, "unit", signal(unit="T")),
    bad("unit as a number", PREPARE, "unit", signal(unit=3)),
    bad("positions too few", PREPARE, "positions", signal(positions=[[0, 0, 0]])),
    bad("positions of words", PREPARE, "positions", signal(positions=[["a", "b", "c"]] * 8)),
    bad("facts of a list", PREPARE, "signal.json", put("study/signal.json", "[1]")),
    bad("facts cut off", PREPARE, "signal.json", cut("study/signal.json")),
    bad("notes of a number", PREPARE, "notes", signal(notes=3)),
    *sets(
        ("rate asked of nan", "dataset.sfreq=.nan", "sfreq"),
        ("rate asked of true", "dataset.sfreq=true", "sfreq"),
        ("begin asked of inf", "dataset.tmin=.inf", "tmin"),
        ("unit asked of volts", "dataset.unit=Volt", "unit"),
        ("another array", "dataset.eeg=ege.npy", "did you mean 'eeg.npy'?"),
        ("an array above", "dataset.eeg=../pictures/a0.png", "in an unsupported format"),
        ("names of a missing file", "dataset.ch_names=names.txt", "names.txt does not exist"),
        ("a design unknown", "dataset.design=slow", "design"),
        ("another root", "dataset.root=studdy", "does not exist"),
        ("a root that is a file", "dataset.root=lda.yaml", "lda.yaml"),
        ("a root of nothing", "dataset.root=pictures", "table.csv"),
        command=PREPARE,
    ),
]

BIDS_STUDIES = [
    bad("no events", BIDS, "events.tsv", gone(EVENTS)),
    bad("an onset in words", BIDS, "line 3", edit(EVENTS, "\n2\t", "\ntwo\t")),
    bad("an onset of inf", BIDS, "onset", edit(EVENTS, "\n2\t", "\ninf\t")),
    bad(
        "onsets in milliseconds",
        BIDS,
        "onsets are seconds",
        *(
            edit(EVENTS.replace("01_e", f"{r}_e"), f"\n{n}\t", f"\n{n}000\t")
            for r in ("01", "02")
            for n in (4, 3, 2, 1)
        ),
    ),
    bad("two events at once", BIDS, "two events at 1 s", edit(EVENTS, "\n2\t", "\n1\t")),
    bad("a row too short", BIDS, "line 3", edit(EVENTS, "\n2\t0.1\tb0", "\n2\t0.1")),
    bad("a row too long", BIDS, "line 3", edit(EVENTS, "\n2\t0.1\tb0", "\n2\t0.1\tb0\tx\ty")),
    bad("a picture unknown", BIDS, "b00", edit(EVENTS, "b0", "b00")),
    bad("a type column missing", BIDS, "no column", edit(EVENTS, "trial_type", "kind")),
    bad("a duration in words", BIDS, "duration", edit(EVENTS, "0.1\ta0", "long\ta0")),
    bad("events are a pipe", BIDS, "is a pipe", pipe(EVENTS)),
    bad("events in utf-16", BIDS, "events.tsv", encoded(EVENTS, "utf-16-le")),
    bad(
        "all stretches bad",
        BIDS,
        "is left",
        *(edit(EVENTS.replace("01_e", f"{r}_e"), "\n1\t0.1\ta0", "\n0\t6\tBAD_all\n1\t0.1\ta0") for r in ("01", "02")),
    ),
    bad(
        "channels all eog",
        BIDS,
        "EEG",
        *(edit(CHANS.replace("01_c", f"{r}_c"), "\tEEG\t", "\tEOG\t") for r in ("01", "02")),
    ),
    bad("channels of a row too short", BIDS, "channels.tsv", edit(CHANS, "Cz\tEEG\tuV\tgood", "Cz\tEEG")),
    bad("channels named twice", BIDS, "channels.tsv", edit(CHANS, "Cz\t", "Pz\t")),
    bad("channels unlike the data", BIDS, "channels", edit(CHANS, "Cz\t", "Xx\t")),
    bad("channels without names", BIDS, "name", edit(CHANS, "name\t", "label\t")),
    bad("channels in latin-1", BIDS, "channels.tsv", encoded(CHANS, "latin-1", "uV", "\xb5V")),
    bad("channels are a folder", BIDS, "channels.tsv", folder(CHANS)),
    bad(
        "a renamed recording",
        "prepare bids.yaml --out out --set dataset.split=null",
        "DataFile",
        *(
            lambda s=s: os.rename(f"{BASE}_eeg.{s}", f"{BASE.replace('see', 'look')}_eeg.{s}")
            for s in ("vhdr", "eeg", "vmrk")
        ),
        *(
            lambda s=s: os.rename(f"{BASE}_{s}.tsv", f"{BASE.replace('see', 'look')}_{s}.tsv")
            for s in ("events", "channels")
        ),
        lambda: [p.unlink() for p in Path("bids").rglob("*run-02*")],
    ),
    bad("a header that is cut", BIDS, "eeg.vhdr", cut(f"{BASE}_eeg.vhdr", 0.2)),
    bad("a header of another kind", BIDS, "eeg.vhdr", put(f"{BASE}_eeg.vhdr", "hello\n")),
    bad("a header of nothing", BIDS, "eeg.vhdr", put(f"{BASE}_eeg.vhdr", "")),
    bad("data missing", BIDS, "eeg.vhdr", gone(f"{BASE}_eeg.eeg")),
    bad(
        "data that lie above",
        BIDS,
        "leads out of its folder",
        edit(f"{BASE}_eeg.vhdr", "DataFile=", "DataFile=../../../"),
    ),
    bad("a description cut off", BIDS, "dataset_description.json", put("bids/dataset_description.json", "{")),
    bad("a description that is a pipe", BIDS, "is a pipe", pipe("bids/dataset_description.json")),
    bad(
        "runs of other channels",
        BIDS,
        "channel",
        edit(f"{BASE}_eeg.vhdr", "=Oz,", "=POz,"),
        edit(CHANS, "Oz\t", "POz\t"),
    ),
    *sets(
        ("another task", "dataset.task=hear", "see"),
        ("another session", "dataset.session=9", "session"),
        ("another run", "dataset.run=7", "run"),
        ("another subject", "dataset.subject=09", "did you mean '01'?"),
        ("another picture table", "dataset.stimuli=pictures.tsv", "pictures.tsv does not exist"),
        ("another concept column", "dataset.concept=kind", "no column 'kind'"),
        ("bads of a stranger", "dataset.bads=drop", "bads"),
        ("a low cut above the rate", "preprocessing.h_freq=80", "h_freq"),
        ("a rate above", "preprocessing.sfreq=250", "above the recording's 100 Hz"),
        ("a window beyond the recording", "preprocessing.tmax=60", "is left"),
        ("an impossible reference", "preprocessing.reference=[Oz, Ox]", "Ox"),
        ("a filter turned round", "preprocessing={l_freq: 30, h_freq: 10}", "must lie above l_freq"),
        ("a rejection of all", "preprocessing.reject=1e-12", "check preprocessing.reject"),
        ("a share of runs", "dataset.split={run: 0.5}", "share"),
        command=BIDS,
    ),
]

PROTOCOLS = [
    *sets(
        ("one session left out", "protocol.split=leave_one_session_out", "needs at least two sessions"),
        ("one subject left out", "protocol.split=leave_one_subject_out", "set protocol.subjects to 'joint'"),
        (
            "one joint subject left out",
            "protocol={split: leave_one_subject_out, subjects: joint, select_on: last, average_test: 1}",
            "needs at least two subjects",
        ),
        (
            "joint sessions",
            "protocol={split: within_session, subjects: joint, select_on: last, average_test: 1}",
            "set protocol.subjects to 'within'",
        ),
        (
            "a leaky share of nothing",
            "protocol={split: leaky_random_trials, test_fraction: 0, select_on: last, average_test: 1}",
            "test_fraction",
        ),
        (
            "a leaky share too small",
            "protocol={split: leaky_random_trials, test_fraction: 0.001, select_on: last, average_test: 1}",
            "has no trial",
        ),
        (
            "a leaky share of inf",
            "protocol={split: leaky_random_trials, test_fraction: .inf, select_on: last, average_test: 1}",
            "test_fraction",
        ),
        ("validation by day", "protocol.val_by=day", "val_by"),
        ("subjects apart", "protocol.subjects=apart", "subjects"),
    ),
    bad(
        "one run left out of one",
        f"{RUN} --set protocol.split=leave_one_run_out --set 'dataset.keep={{run: \"01\"}}'",
        "needs at least two runs",
    ),
    bad(
        "too few to validate",
        "run nice.yaml --out out --set protocol.select_on=val --set protocol.val_by=run "
        '--set \'dataset.keep={run: ["01", "03"]}\'',
        "cannot spare any for validation",
    ),
]

CAPTION, BY_FILE = "caption --images pictures --out out --by", "caption --images pictures --by file --out out --set"
TABLES_OF = "caption --by drawn --out out --stimuli"
SLOT = "- {name: thing, level: object, prompt: Name it.}\n"
PICTURES = [
    bad("cut off", f"{CAPTION} vision_language", "b0.png", cut("pictures/b0.png", 0.4)),
    bad("a text", f"{CAPTION} vision_language", "b0.png", put("pictures/b0.png", "hello")),
    bad("nothing", f"{CAPTION} vision_language", "b0.png", put("pictures/b0.png", "")),
    bad("a pipe", f"{CAPTION} vision_language", "b0.png", pipe("pictures/b0.png")),
    bad("no folder", "caption --images picturs --by drawn --out out", "picturs"),
    bad("a folder without pictures", "caption --images study --by drawn --out out", "study", gone("study/pictures")),
    bad("a file for a folder", "caption --images lda.yaml --by drawn --out out", "lda.yaml"),
    bad(
        "colours of nan in a study",
        "run nice.yaml --out out",
        "b0.tif",
        edit(STIMULI, "b0.png", "b0.tif"),
        lambda: Image.fromarray(np.full((16, 16), np.nan, np.float32)).save("study/pictures/b0.tif"),
    ),
    bad(
        "colours beyond any range in a study",
        "run nice.yaml --out out",
        "b0.tif",
        edit(STIMULI, "b0.png", "b0.tif"),
        lambda: Image.fromarray(np.full((16, 16), 3e9, np.float32)).save("study/pictures/b0.tif"),
    ),
]

CAPTIONS = [
    bad("nothing to caption", "caption --by drawn --out out", "--images FOLDER or --stimuli TABLE"),
    bad(
        "two things to caption",
        "caption --images pictures --stimuli study/stimuli.csv --by drawn --out out",
        "nothing to caption: give --images FOLDER or --stimuli TABLE",
    ),
    bad("nobody to caption", "caption --images pictures --out out", "--by"),
    bad("nowhere to caption", "caption --images pictures --by drawn", "--out FOLDER"),
    bad("an unknown captioner", f"{CAPTION} opnai", "did you mean 'openai'?"),
    bad("an unknown argument", f"{CAPTION} file --set pth=x.csv", "did you mean 'path'?"),
    bad("an unknown slot", f"{CAPTION} drawn --slot ObjectSnapp", "did you mean 'ObjectSnap'?"),
    bad("no file of slots", f"{CAPTION} drawn --slots slots.yaml", "slots.yaml does not exist"),
    bad(
        "a slot without prompt",
        f"{CAPTION} drawn --slots s.yaml",
        "prompt",
        put("s.yaml", "- {name: thing, level: object}\n"),
    ),
    bad(
        "a slot of another level",
        f"{CAPTION} drawn --slots s.yaml",
        "level",
        put("s.yaml", SLOT.replace("object", "objekt")),
    ),
    bad(
        "a slot named like a column",
        f"{CAPTION} drawn --slots s.yaml",
        "rename it",
        put("s.yaml", SLOT.replace("thing", "stimulus")),
    ),
    bad(
        "a slot that leads out", f"{CAPTION} drawn --slots s.yaml", "name", put("s.yaml", SLOT.replace("thing", "../x"))
    ),
    bad("a slot twice", f"{CAPTION} drawn --slots s.yaml", "twice", put("s.yaml", 2 * SLOT)),
    bad(
        "a slot of no length",
        f"{CAPTION} drawn --slots s.yaml",
        "max_tokens",
        put("s.yaml", SLOT.replace("}", ", max_tokens: 0}")),
    ),
    bad(
        "a slot too long",
        f"{CAPTION} drawn --slots s.yaml",
        "max_tokens",
        put("s.yaml", SLOT.replace("}", ", max_tokens: 300}")),
    ),
    bad("no slot", f"{CAPTION} drawn --slots s.yaml", "at least one", put("s.yaml", "[]\n")),
    bad("slots of a mapping", f"{CAPTION} drawn --slots s.yaml", "slots are a list", put("s.yaml", "a: b\n")),
    bad("slots of broken YAML", f"{CAPTION} drawn --slots s.yaml", "not readable YAML", put("s.yaml", "- [a\n")),
    bad("slots are a folder", f"{CAPTION} drawn --slots study", "is a folder"),
    bad("no stimulus table", f"{TABLES_OF} stimuli.csv", "stimuli.csv"),
    bad(
        "a stimulus table without image",
        f"{CAPTION.split(' --images')[0]} --stimuli t.csv --out out --by vision_language",
        "image",
        put("t.csv", "stimulus\na\n"),
    ),
    bad(
        "a stimulus table without stimulus",
        f"{TABLES_OF} t.csv",
        "no column 'stimulus'",
        put("t.csv", "name,image\na,pictures/a0.png\n"),
    ),
    bad("a stimulus table of nothing", f"{TABLES_OF} t.csv", "t.csv", put("t.csv", "stimulus,image\n")),
    bad(
        "a stimulus twice",
        f"{TABLES_OF} t.csv",
        "'a' twice",
        put("t.csv", "stimulus,image\na,pictures/a0.png\na,pictures/a1.png\n"),
    ),
    bad(
        "a stimulus without picture",
        "caption --by file --set path=study/stimuli.csv --out out --stimuli t.csv",
        "a9.png",
        put("t.csv", "stimulus,image\na0,pictures/a9.png\n"),
    ),
    bad(
        "a stimulus outside",
        f"{TABLES_OF} pictures/t.csv",
        "lies outside of",
        put("pictures/t.csv", "stimulus,image\na,/etc/hostname\n"),
    ),
    bad("stimuli are a pipe", f"{TABLES_OF} t.csv", "not a regular file", pipe("t.csv")),
    bad("people's captions missing", f"{BY_FILE} path=said.csv", "said.csv"),
    bad(
        "people's captions without a slot",
        f"{BY_FILE} path=said.csv",
        "said.csv",
        put("said.csv", "stimulus,words\na0,a thing\n"),
    ),
    bad(
        "people's captions of others",
        f"{BY_FILE} path=said.csv --slot ObjectSnap",
        "a0",
        put("said.csv", "stimulus,ObjectSnap\nz0,a thing\n"),
    ),
    bad(
        "people's captions ragged",
        f"{BY_FILE} path=said.csv",
        "line 2",
        put("said.csv", "stimulus,ObjectSnap\na0,a,b,c\n"),
    ),
    bad("people's captions of broken JSON", f"{BY_FILE} path=said.json", "said.json", put("said.json", "{")),
    bad("check of no captions", "caption --check study", "not a folder of captions"),
    bad(
        "check of a damaged folder",
        "caption --check c",
        "captions.json",
        put("c/captions.json", "[]"),
        put("c/captions.csv", "a\n"),
    ),
    bad(
        "check of other columns",
        "caption --check c",
        "is damaged",
        put("c/captions.json", '{"slots": []}'),
        put("c/captions.csv", "a,b\n1,2\n"),
    ),
    bad(
        "out is a file",
        "caption --images pictures --out lda.yaml --by file --set path=said.csv --slot ObjectSnap",
        "lda.yaml",
        put("said.csv", "stimulus,ObjectSnap\na0,a\na1,b\nb0,c\nb1,d\n"),
    ),
    bad(
        "out holds something",
        "caption --images pictures --out study --by file --set path=said.csv --slot ObjectSnap",
        "study",
        put("said.csv", "stimulus,ObjectSnap\na0,a\na1,b\nb0,c\nb1,d\n"),
    ),
    bad(
        "a run without the caption of one",
        f"{RUN} --set captions=said.csv --set method.name=semantic_prompts --set protocol.average_test=1",
        "leave the slot out of method.slots",
        put("said.csv", "stimulus,ObjectSnap,LayoutSketch,MoodMemory\na0,a,a,a\n"),
    ),
    bad(
        "a run with captions twice",
        f"{RUN} --set captions=said.csv",
        "twice",
        put("said.csv", "stimulus,ObjectSnap\na0,a\na0,b\n"),
    ),
    bad("a run with captions of a folder", f"{RUN} --set captions=pictures", "not a folder of captions"),
    bad(
        "a run with captions of no slot",
        f"{RUN} --set captions=said.csv",
        "no column of a caption slot",
        put("said.csv", "stimulus,words\na0,a\n"),
    ),
]

ASK = f"{CAPTION} openai --set model=m --yes --set"
ENDPOINTS = [
    bad("no model", f"{CAPTION} openai --yes", "model"),
    bad("not https", f"{ASK} base_url=http://example.org/v1", "https"),
    bad("no address", f"{ASK} base_url=example", "base_url"),
    bad("a password in the address", f"{ASK} base_url=https://me:word@example.org/v1", "base_url"),
    bad("a question in the address", f"{ASK} base_url=https://example.org/v1?key=1", "base_url"),
    bad("a file as an address", f"{ASK} base_url=file:///etc/hostname", "base_url"),
    bad("no tries", f"{ASK} tries=0", "tries"),
    bad("tries of nan", f"{ASK} tries=.nan", "tries"),
    bad("no time", f"{ASK} timeout=0", "timeout"),
    bad("time without end", f"{ASK} timeout=.inf", "timeout"),
    bad("a deadline of nan", f"{ASK} deadline=.nan", "deadline"),
    bad("a deadline of minus", f"{ASK} deadline=-1", "deadline"),
    bad("no request a minute", f"{ASK} per_minute=0", "per_minute"),
    bad("a price of nan", f"{ASK} price_in=.nan --set price_out=1", "price_in"),
    bad("a price of minus", f"{ASK} price_in=-1 --set price_out=1", "price_in"),
    bad("pictures of no side", f"{ASK} side=0", "side"),
    bad("pictures of minus tokens", f"{ASK} picture_tokens=-5", "picture_tokens"),
    bad("extra as a word", f"{ASK} extra=hot", "extra"),
    bad("an unset key", f"{ASK} key_from=NO_SUCH_KEY", "NO_SUCH_KEY"),
    bad("a key that cannot be a name", f"{ASK} 'key_from=a b'", "key_from"),
]

GRIDS = [
    bad("no file", "grid nowhere.yaml --out out", "does not exist"),
    bad(
        "no variants",
        "grid grid.yaml --out out",
        "variants",
        edit("grid.yaml", "{one: null, two: {protocol.seed: 1}}", "{}"),
    ),
    bad(
        "variants of a list",
        "grid grid.yaml --out out",
        "variants",
        edit("grid.yaml", "{one: null, two: {protocol.seed: 1}}", "[one]"),
    ),
    bad("no recipe", "grid grid.yaml --out out", "'recipe' is missing", edit("grid.yaml", "recipe: lda.yaml\n", "")),
    bad("an unknown recipe", "grid grid.yaml --out out", "lad.yaml does not exist", edit("grid.yaml", "lda", "lad")),
    bad(
        "an unknown key",
        "grid grid.yaml --out out",
        "did you mean 'variants'?",
        edit("grid.yaml", "variants", "varients"),
    ),
    bad(
        "an unknown reference",
        "grid grid.yaml --out out",
        "did you mean 'two'?",
        line("grid.yaml", 4, "reference: twoo"),
    ),
    bad("a seed twice", "grid grid.yaml --out out", "name each once", line("grid.yaml", 4, "seeds: [1, 1]")),
    bad(
        "seeds beside a seed",
        "grid grid.yaml --out out",
        "leave one of them out",
        line("grid.yaml", 4, "seeds: [1, 2]"),
    ),
    bad("seeds of words", "grid grid.yaml --out out", "seeds", line("grid.yaml", 4, "seeds: [one]")),
    bad("seeds of none", "grid grid.yaml --out out", "seeds", line("grid.yaml", 4, "seeds: []")),
    bad("a seed of minus", "grid grid.yaml --out out", "protocol.seed", edit("grid.yaml", "seed: 1", "seed: -1")),
    bad("an unknown metric", "grid grid.yaml --out out", "metrics", line("grid.yaml", 4, "metrics: []")),
    bad(
        "a variant that leads out",
        "grid grid.yaml --out out",
        "cannot name a folder",
        edit("grid.yaml", "one:", "../one:"),
    ),
    bad(
        "variants of one folder",
        "grid grid.yaml --out out",
        "rename one of the variants",
        edit("grid.yaml", "one:", "TWO:"),
    ),
    bad(
        "a variant misspelt within",
        "grid grid.yaml --out out",
        "variant 'two'",
        edit("grid.yaml", "protocol.seed", "protocol.sed"),
    ),
    bad("an override misspelt", "grid grid.yaml --out out --set protocol.sed=1", "did you mean 'seed'?"),
    bad("a recipe that runs itself", "grid lda.yaml --out out", "lda.yaml"),
    bad("a grid that is a folder", "grid study --out out", "is a folder"),
    bad("a grid that is a pipe", "grid x.yaml --out out", "is a pipe", pipe("x.yaml")),
]

RUNS = [
    *[bad(f"{verb} of no run", f"{verb} study", "study") for verb in ("evaluate", "explain", "audit", "report")],
    *[
        bad(f"{verb} of a file", f"{verb} lda.yaml", "not a run folder")
        for verb in ("evaluate", "explain", "audit", "report")
    ],
    *[
        bad(f"{verb} of nothing", f"{verb} nowhere", "not a run folder")
        for verb in ("evaluate", "explain", "audit", "report")
    ],
    *[
        bad(f"{verb} of a run without trials", f"{verb} run", "run", gone("run/trials"))
        for verb in ("report", "compare run")
    ],
    bad("compare with no run", "compare run study", "study is not a run folder"),
    bad("compare over the moon", "compare run run --over moon", "stimuli"),
    bad("compare with another correction", "compare run run --correction none", "holm"),
    bad(
        "compare with another protocol",
        "compare run other",
        "run both under the same one",
        lambda: shutil.copytree("run", "other"),
        edit("run/config.yaml", "seed: 0", "seed: 1"),
    ),
    bad("compare into a folder", "compare run run --out study", "study is a folder, not a file: choose another --out"),
    bad("report of a second that is none", "report run --also study", "study is not a run folder"),
    bad("explain what has no head", "explain run", "has no heads to explain"),
    bad("similarity of what has no vectors", "analyse similarity run", "run a method that retrieves pictures"),
    bad("repeats of single trials", "analyse repeats run", "average repeats"),
    bad("a config of nothing", "evaluate run", "config.yaml", put("run/config.yaml", "")),
    bad("a config cut off", "evaluate run", "config.yaml", put("run/config.yaml", "name: [a")),
    bad(
        "a config of another method",
        "evaluate run",
        "did you mean 'lda'?",
        edit("run/config.yaml", "name: lda", "name: ldda"),
    ),
    bad("a config that is a pipe", "evaluate run", "config.yaml", pipe("run/config.yaml")),
    bad("no model", "evaluate run", "run", first("run/folds/*/model", gone)),
    bad("a model cut off", "decode run trials --out out", "train again", first("run/folds/*/model/*.safetensors", cut)),
    bad(
        "a model of nothing",
        "decode run trials --out out",
        "method.json",
        first("run/folds/*/model/method.json", lambda p: put(p, "{}")),
    ),
    bad("no decoded vectors", "evaluate run", "finish it with `phosphene run`", first("run/folds/*/decoded", gone)),
    bad("decoded vectors cut off", "evaluate run", "decoded", first("run/folds/*/decoded/decoded.safetensors", cut)),
    bad(
        "decoded vectors of text",
        "report run",
        "decoded",
        first("run/folds/*/decoded/decoded.safetensors", lambda p: put(p, "hello")),
    ),
    bad(
        "a decoded table ragged",
        "evaluate run",
        "table.csv",
        first("run/folds/*/decoded/table.csv", lambda p: line(p, 3, "a,b")),
    ),
    bad("no scores", "report run", "phosphene evaluate", gone("run/scores.csv")),
    bad("scores of text", "report run", "scores.csv", put("run/scores.csv", "hello\n")),
    bad(
        "scores of words for numbers",
        "report run",
        "scores.csv",
        lambda: Path("run/scores.csv").write_text(re.sub(r"\d\.\d+", "good", Path("run/scores.csv").read_text())),
    ),
    bad("provenance cut off", "report run", "provenance.json", cut("run/provenance.json")),
    bad("provenance of a list", "report run", "provenance.json", put("run/provenance.json", "[1]")),
    bad("an audit of text", "report run", "audit.json", put("run/audit.json", "hello")),
    bad("facts of the dataset cut off", "report run", "dataset.json", cut("run/dataset.json")),
    bad("trials cut off", "evaluate run", "eeg.npy", cut("run/trials/eeg.npy")),
    bad("a trial table missing", "evaluate run", "table.csv", gone("run/trials/table.csv")),
    bad("trials of other channels", "evaluate run", "channels", signal("run/trials", ch_names=["Fz"])),
    bad(
        "a run that goes on with another recipe", "run lda.yaml --out run --set protocol.seed=5", "choose another --out"
    ),
    bad(
        "a run that goes on with other data",
        "run lda.yaml --out run",
        "have changed since",
        edit(TABLE, "01,01,01,01", "01,01,02,01"),
    ),
    bad("a run into a file", "run lda.yaml --out lda.yaml", "lda.yaml is not a folder: choose another --out"),
    bad("a run below a file", "run lda.yaml --out lda.yaml/out", "lda.yaml is not a folder: choose another --out"),
    bad("prepare onto a folder", "prepare lda.yaml --out study", "exists already"),
    bad(
        "prepare below a file", "prepare lda.yaml --out lda.yaml/out", "lda.yaml is not a folder: choose another --out"
    ),
    bad("audit of few exchanges", "audit run --n-perm 3", "--n-perm"),
    bad("audit of no exchange", "audit run --n-perm 0", "--n-perm"),
    bad("audit of minus exchanges", "audit run --n-perm -500", "--n-perm"),
    bad("audit of an unknown part", "audit run --part decodng", "decoding, retrained"),
    bad("audit of no pictures", "audit run --n-pictures 0", "--n-pictures"),
    bad("audit of minus pictures", "audit run --n-pictures -3 --part pictures", "n-pictures"),
]

DECODE = "decode run trials --out out"
TRIALS = [
    bad("out exists", "decode run trials --out study", "exists already"),
    bad("out is below a file", "decode run trials --out lda.yaml/x", "lda.yaml is not a folder: choose another --out"),
    bad("trials that are none", "decode run pictures --out out", "holds no trials"),
    bad("trials that are a file", "decode run lda.yaml --out out", "holds no trials"),
    bad("another subject", f"{DECODE} --subject 02", "did you mean '01'?"),
    bad("another rate", DECODE, "100 Hz, these 250 Hz", signal("trials", sfreq=250)),
    bad("another window", DECODE, "these trials span", signal("trials", tmin=0.2)),
    bad("half a sample later", DECODE, "these at -0.095 s", signal("trials", tmin=-0.095)),
    bad("another unit", DECODE, "are in V, these in standardised", signal("trials", unit="standardised")),
    bad(
        "a channel less",
        DECODE,
        "lack 1 of them: 'O2'",
        signal("trials", ch_names=[c.replace("O2", "Iz") for c in small_studies.CHANNELS]),
    ),
    bad(
        "channels in small letters",
        DECODE,
        "'Fz'",
        signal("trials", ch_names=[c.lower() for c in small_studies.CHANNELS]),
    ),
    bad("microvolts", DECODE, "multiply them by 1e-06", changed("trials/eeg.npy", to=lambda x: 1e6 * x)),
    bad("a thousandth", DECODE, "multiply them by 1000", changed("trials/eeg.npy", to=lambda x: 1e-3 * x)),
    bad(
        "one channel in microvolts",
        DECODE,
        "'Oz'",
        changed("trials/eeg.npy", to=lambda x: x * np.where(np.arange(8) == 3, 1e6, 1)[:, None].astype(np.float32)),
    ),
    bad("nan", DECODE, "trial 2 (from 0)", changed("trials/eeg.npy", to=one((2, 0, 0), np.nan))),
    bad("infinity", DECODE, "trial 0 (from 0)", changed("trials/eeg.npy", to=one((0, 0, 0), -np.inf))),
    bad("zeros", DECODE, "do not vary in time", changed("trials/eeg.npy", to=np.zeros_like)),
    bad("fewer samples", DECODE, "these trials span", changed("trials/eeg.npy", to=lambda x: x[:, :, :10])),
    bad(
        "no trial",
        DECODE,
        "there are no trials to decode",
        changed("trials/eeg.npy", to=lambda x: x[:0]),
        lambda: Path("trials/table.csv").write_text(Path("trials/table.csv").read_text().splitlines()[0] + "\n"),
    ),
    bad("one axis less", DECODE, "(n_trials, n_chans, n_times)", changed("trials/eeg.npy", to=lambda x: x[0])),
    bad("text", DECODE, "no array of numbers", changed("trials/eeg.npy", to=lambda x: x.astype(str))),
    bad(
        "a row less",
        DECODE,
        "rows",
        lambda: Path("trials/table.csv").write_text(
            "\n".join(Path("trials/table.csv").read_text().splitlines()[:-1]) + "\n"
        ),
    ),
    bad("an unknown stimulus", DECODE, "a00", edit("trials/table.csv", ",a0,", ",a00,", 1)),
    bad("no stimuli", DECODE, "stimuli.csv", gone("trials/stimuli.csv")),
    bad("facts missing", DECODE, "signal.json", gone("trials/signal.json")),
    bad("facts with a key more", DECODE, "signal.json", signal("trials", colour="red")),
    bad("a pipe", DECODE, "trials", pipe("trials/eeg.npy")),
]

SIMULATE = [
    bad(name, f"simulate --out out {options}", words)
    for name, options, words in [
        ("no subject", "--n-subjects 0", "n_subjects"),
        ("minus sessions", "--n-sessions -1", "n_sessions"),
        ("no training picture", "--n-train-pictures 0", "n_train_pictures"),
        ("no test picture", "--n-test-pictures 0", "n_test_pictures"),
        ("too many test pictures", "--n-test-pictures 1000000", "n_test_pictures"),
        ("no repeat", "--test-repeats 0", "test_repeats"),
        ("noise of nan", "--snr-db nan", "snr_db"),
        ("noise of inf", "--snr-db inf", "snr_db"),
        ("rate of zero", "--sfreq 0", "sfreq"),
        ("rate of nan", "--sfreq nan", "sfreq"),
        ("pace of zero", "--soa 0", "soa"),
        ("pace of inf", "--soa inf", "soa"),
        ("pace of minus", "--soa -0.4", "soa"),
        ("a format unknown", "--format edff", "format"),
        ("regions unknown", "--regions three", "regions"),
        ("a seed of minus", "--seed -1", "seed"),
        ("a rate of a thousand million", "--sfreq 1e9", "sfreq"),
        ("classes of none", "--layout eegcvpr40 --n-per-class 0", "n_per_class"),
    ]
]
SIMULATE += [
    bad("out is a file", "simulate --out lda.yaml", "lda.yaml"),
    bad("out is below a file", "simulate --out lda.yaml/x", "choose another --out"),
    bad("out holds another study", "simulate --out study", "study"),
]

ANALYSE = [
    bad("unknown", "analyse growing-window lda.yaml --out out", "did you mean 'growing-windows'?"),
    bad("an unknown argument", "analyse regions lda.yaml --with region=x --out out", "did you mean 'regions'?"),
    bad("a width of zero", "analyse sliding-windows lda.yaml --with width=0 --out out", "width"),
    bad("a width of nan", "analyse sliding-windows lda.yaml --with width=.nan --out out", "width"),
    bad("a width as a word", "analyse sliding-windows lda.yaml --with width=wide --out out", "width"),
    bad("a step of minus", "analyse sliding-windows lda.yaml --with step=-1 --out out", "step"),
    bad("unknown encoders", "analyse encoders nice.yaml --with encoders=[nicer] --out out", "did you mean 'nice'?"),
    bad("encoders of a number", "analyse encoders nice.yaml --with encoders=3 --out out", "encoders"),
    bad("encoders of none", "analyse encoders nice.yaml --with encoders=[] --out out", "encoders"),
    bad("encoders of a method without", "analyse encoders lda.yaml --with encoders=[nice] --out out", "encoder"),
    bad("regions of a word", "analyse regions lda.yaml --with regions=back --out out", "regions"),
    bad(
        "an argument without value",
        "analyse regions lda.yaml --with regions --out out",
        "--with regions is not key=value",
    ),
    bad("a recipe missing", "analyse regions nowhere.yaml --out out", "does not exist"),
    bad("no run", "analyse repeats study", "not a run folder"),
]

FETCH = [
    bad("nowhere", "fetch things-eeg2-atm --yes", "--to FOLDER"),
    bad("unknown", "fetch things-eeg3 --to out --yes", "did you mean"),
    bad("by hand", "fetch eegcvpr40 --to out --yes", "that a person must click through"),
    bad("a name that leads out", "fetch ../x --to out --yes", "unknown data set"),
    bad("an empty name", "fetch '' --to out --yes", "empty argument after fetch"),
]

COMMANDS = [
    bad("an unknown verb", "analyze regions lda.yaml", "analyse"),
    bad("an unknown option", f"{RUN} --sett a=b", "--set"),
    bad("a word for a number", "audit run --n-perm many", "'--n-perm'"),
    bad("a fraction for a whole number", "simulate --out out --n-subjects 1.5", "'--n-subjects'"),
    bad("a word for a rate", "simulate --out out --sfreq fast", "'--sfreq'"),
    bad("no recipe said", "run --out out", "Missing argument 'recipe'"),
    bad("no folder said", "prepare lda.yaml", "--out"),
    bad("one run to compare", "compare run", "Missing argument"),
    bad("an argument too many", "report run run", "run"),
    bad("an option without value", "run lda.yaml --out", "--out"),
    bad("an unknown kind to list", "list methd", "did you mean 'method'?"),
    bad("a path with a zero byte", "run 'a\0b.yaml' --out out", "does not exist"),
    bad("a path without end", f"run {'x' * 5000}.yaml --out out", "does not exist"),
    bad("an out without end", f"prepare lda.yaml --out {'x' * 5000}", "name too long"),
]

KINDS = {
    "recipes": RECIPES,
    "preprocessing": PREPROCESSING,
    "tables": TABLES,
    "arrays": ARRAYS,
    "BIDS": BIDS_STUDIES,
    "protocols": PROTOCOLS,
    "pictures": PICTURES,
    "captions": CAPTIONS,
    "endpoints": ENDPOINTS,
    "grids": GRIDS,
    "runs": RUNS,
    "trials": TRIALS,
    "simulate": SIMULATE,
    "analyse": ANALYSE,
    "fetch": FETCH,
    "commands": COMMANDS,
}


NICE = "run nice.yaml --out out"
PARTS = [
    *sets(
        ("encoder unknown", "method.encoder=nise", "did you mean 'nice'?"),
        ("a prior for an encoder", "method.encoder=ridge", "unknown encoder 'ridge'"),
        ("an argument of another encoder", "method.encoder_args={input_dropout: 7}", "did you mean 'dropout'?"),
        ("an argument of no encoder", "method.encoder_args={nonsense: 1}", "unknown key 'nonsense'"),
        ("dropout above one", "method.encoder_args={dropout: 7}", "encoder_args: dropout: Input should be less than 1"),
        ("dropout of nan", "method.encoder_args={dropout: .nan}", "encoder_args: dropout: give a finite number"),
        ("dropout of true", "method.encoder_args={dropout: true}", "encoder_args: dropout: give a number"),
        ("a kernel of zero", "method.encoder_args={kernel: 0}", "encoder_args: kernel: Input should be greater than 0"),
        ("a kernel of a year", "method.encoder_args={kernel: 1000000}", "too few for kernel"),
        ("channels that the trials have", "method.encoder_args={n_chans: 3}", "n_chans comes from the trials"),
        ("samples that the trials have", "method.n_times=3", "method.n_times comes from the trials"),
        ("concepts that the trials have", "method.concepts=[a]", "method.concepts comes from the trials"),
        ("arguments of a list", "method.encoder_args=[1]", "encoder_args"),
        ("a prior unknown", "method.prior=diffuse", "did you mean 'diffusion'?"),
        ("no penalty", "method.prior_args={alphas: []}", "prior_args: alphas"),
        ("a penalty of nan", "method.prior_args={alphas: [.nan]}", "prior_args: alphas: give a finite number"),
        ("a penalty of minus", "method.prior_args={alphas: [-1]}", "prior_args: alphas"),
        ("a diffusion backbone for CLIP", "method.backbone=sd15", "unknown clip backbone 'sd15'"),
        ("a weight of minus", "method.cosine_weight=-1", "cosine_weight: Input should be greater than or equal to 0"),
        ("a sampler unknown", "method={name: atm, prior_args: {sampler: fast}}", "unknown sampler 'fast'"),
        ("a prior of no step", "method={name: atm, prior_args: {steps: 0}}", "prior_args: steps"),
        (
            "clipping by another sampler",
            "method={name: atm, prior_args: {clip_sample: true}}",
            "set standardise: false",
        ),
        ("losses of no weight", "method={name: atm, contrastive: 0}", "nothing would be learned"),
        ("strength above one", "method={name: atm, strength: 7}", "strength: Input should be less than or equal to 1"),
        ("a captioner of another kind", "method={name: atm, captioner: mini}", "unknown caption backbone"),
        ("a rank of zero", "method={name: atm, low_level: small, low_level_args: {rank: 0}}", "low_level_args: rank"),
        ("heads of none", "method={name: synapse, autoencoder_args: {n_heads: 0}}", "autoencoder_args: n_heads"),
        ("a loss unknown", "method={name: synapse, weights: {rek: 1}}", "unknown loss 'rek'"),
        ("rows of two widths", "method={name: synapse, diffusion: sdxl-base}", "two rows of one width"),
        ("a slot unknown", "method={name: semantic_prompts, slots: [ThemeTags]}", "did you mean 'ThemeTag'?"),
        ("no slot", "method={name: semantic_prompts, slots: []}", "slots"),
        ("widths and heads", "method={name: semantic_prompts, encoder_args: {width: 130}}", "a multiple of n_heads"),
        ("drawing in no step", "generator={name: diffusion, steps: 0}", "steps: Input should be greater than or equal"),
        ("drawing in minus steps", "generator={name: diffusion, steps: -4}", "steps"),
        ("guidance of inf", "generator={name: diffusion, guidance: .inf}", "guidance: give a finite number"),
        ("a picture without end", "generator={name: diffusion, size: 1000000000000}", "size"),
        ("a sampler of another model", "generator={name: diffusion, sampler: ddpm}", "reads no flow_prediction"),
        ("a generator of other embeddings", "generator={name: diffusion, backbone: sd15}", "clip-vit-h14"),
        ("a generator without adapter", "generator={name: diffusion, backbone: sd21}", "no image-prompt adapter"),
        ("a device unknown", "generator={name: diffusion, device: moon}", "'moon'"),
        ("draws without end", "evaluation.draws=1000000000000", "evaluation.draws"),
        ("bootstrap without end", "evaluation.n_boot=1000000000000", "evaluation.n_boot"),
        ("bootstrap in words of 1e12", "evaluation.n_boot=1e12", "evaluation.n_boot"),
        ("epochs without end", "training.epochs=1000000000000", "training.epochs"),
        ("averages without end", "protocol.average_test=1000000000000", "protocol.average_test"),
        ("a window of years", "window=[0, 1000000000000]", "window"),
        ("a begin of nan", "dataset.tmin=.nan", "tmin: give a finite number"),
        ("a begin of years", "dataset.tmin=1e12", "tmin"),
        ("a rate of inf", "dataset.sfreq=.inf", "sfreq: give a finite number"),
        ("a rate of true", "dataset.sfreq=true", "sfreq: give a number"),
        ("a rate of 1e12", "dataset.sfreq=1e12", "sfreq: Input should be less than or equal"),
        ("nan deep in a list", "preprocessing.baseline=[.nan, 0]", "give a finite number"),
        command=NICE,
    ),
    bad("drawings of what draws nothing", f"{RUN} --set 'generator={{name: diffusion}}'", "'lda' does not generate"),
    bad("bins longer than trials", f"{RUN} --set method.bin_samples=21", "choose 1 to 20"),
    bad("check of a misspelt key", "check lda.yaml --set method.bin_sample=3", "did you mean 'bin_samples'?"),
    bad("check of a window beyond", "check bids.yaml --set 'window=[0, 9]'", "lies outside the trials"),
    bad("check of a subject unknown", "check lda.yaml --set dataset.subject=09", "was not found under"),
    bad("prepare what cannot be run", "prepare nice.yaml --out out --set method.encoder=nise", "did you mean 'nice'?"),
    bad(
        "prepare a kernel of a year", "prepare nice.yaml --out out --set 'method.encoder_args={kernel: 9999}'", "kernel"
    ),
]

DEMO = "run demo --set dataset.root=syn"
FOLDERS = [
    bad("a blank out", "run lda.yaml --out ''", "empty argument after --out"),
    bad("an out of spaces", "run lda.yaml --out '  '", "empty argument after --out"),
    bad("an out of nothing", "run lda.yaml --out=", "empty argument"),
    bad("a blank study", "simulate --out ''", "empty argument after --out"),
    bad("a blank run", "report ''", "empty argument after report"),
    bad("a run onto a study", "run lda.yaml --out study", "holds other things ('eeg.npy') and no config.yaml"),
    bad("a run onto this folder", "run lda.yaml --out .", "choose a new or empty folder"),
    bad("a grid onto a study", "grid grid.yaml --out study", "holds other things"),
    bad("a grid onto a run", "grid grid.yaml --out run", "holds other things"),
    bad("an analysis onto a study", "analyse regions nice.yaml --out study", "holds other things"),
    bad("a metric misspelt", "grid grid.yaml --out out", "'auc'?", line("grid.yaml", 4, "metrics: [aucc]")),
    bad(
        "a second variant that is wrong",
        "grid grid.yaml --out out",
        "variant 'two'",
        edit("grid.yaml", "protocol.seed: 1", "method.bin_samples: 0"),
    ),
    bad("exchanges without end", "audit run --n-perm 1000000000000", "--n-perm"),
    bad("facts of a list", "run lda.yaml --out run", "not as the run wrote it", put("run/dataset.json", "[]")),
    bad("channels of bytes", f"{RUN} --set dataset.ch_names=c.txt", "c.txt", put("study/c.txt", bytes(range(256)))),
    bad(
        "channels of control characters",
        f"{RUN} --set dataset.ch_names=c.txt",
        "is not a channel name",
        put("study/c.txt", "".join(f"\x07{i}\n" for i in range(8))),
    ),
    *[
        bad(f"a study of {what}", f"{DEMO} --out out", "dataset.json", put("syn/dataset.json", text))
        for what, text in [
            ("nothing", ""),
            ("a list", "[]"),
            ("bytes", b"\xff\xfe"),
            ("half a line", '{"simulated"'),
            ("no recording", '{"simulated": true}'),
            ("a number", '{"simulated": true, "recordings": 3}'),
            ("numbers", '{"simulated": true, "recordings": [{"subject": 1, "path": "x"}]}'),
        ]
    ],
    bad(
        "facts of eegcvpr40 in a list",
        "run eegcvpr40-quick --set dataset.root=syn --out out",
        "dataset.json",
        put("syn/dataset.json", "[]"),
    ),
    bad("study facts cut off", BIDS, "dataset.json", put("bids/dataset.json", '{"sim')),
]

PROJECTION = edit("nice.yaml", "{name: nice}", "{name: nice, encoder: projection}")
WINDOWS = [
    bad(name, f"analyse {what} nice.yaml --with '{value}' {out}", words, PROJECTION)
    for name, what, value, out, words in [
        ("wider than the trials", "sliding-windows", "width=9", "--out out", "no window of 9 s fits"),
        ("wider, and nobody named a folder", "sliding-windows", "width=9", "", "no window of 9 s fits"),
        ("a word", "sliding-windows", "width=abc", "--out out", "width: Input should be a valid number"),
        ("true", "sliding-windows", "width=true", "--out out", "width: give a number"),
        ("inf", "sliding-windows", "width=.inf", "--out out", "width: give a finite number"),
        ("too many", "sliding-windows", "step=1e-9", "--out out", "raise step"),
        ("after the end", "sliding-windows", "start=9", "--out out", "no window"),
        ("an end beyond", "growing-windows", "ends=[9]", "--out out", "is not within the trials"),
        ("no end", "growing-windows", "ends=[]", "--out out", "there is no window"),
        ("a score unknown", "sliding-windows", "metrics=[image_topp1]", "--out out", "'image_top1'?"),
        ("scores as a word", "sliding-windows", "metrics=auc", "--out out", "metrics: Input should be a valid list"),
        ("a seed alone", "sliding-windows", "seeds=3", "--out out", "seeds: Input should be a valid list"),
        ("a region of nobody", "regions", "regions={a: [Xx]}", "--out out", "channel 'Xx' is not in"),
        ("a region of nothing", "regions", "regions={a: []}", "--out out", "a region is empty"),
    ]
]

KINDS |= {"parts": PARTS, "folders": FOLDERS, "windows": WINDOWS}


@pytest.fixture(scope="session")
def sound(tmp_path_factory) -> Path:
    """Of which every test spoils a copy: studies, recipes, prepared trials and a finished run."""
    root = small_studies.write(tmp_path_factory.mktemp("sound") / "here")
    before = Path.cwd()
    os.chdir(root)
    try:
        for command in ("prepare lda.yaml --out trials", "run lda.yaml --out run"):
            done = CliRunner().invoke(app, command.split(), catch_exceptions=False)
            assert done.exit_code == 0, done.output
    finally:
        os.chdir(before)
    return without_checksums(root)  # which would tell damage before what is wrong with it


def listing(root: Path) -> dict[str, tuple[int, ...]]:
    """Everything below a folder, hidden or not, with what would show that it was written to."""
    found = {str(path.relative_to(root)): path.lstat() for path in root.rglob("*")}
    return {
        name: (now.st_mode, now.st_ino, 0 if stat.S_ISDIR(now.st_mode) else now.st_mtime_ns)
        for name, now in found.items()
    }


@pytest.mark.parametrize(
    "case", [pytest.param(b, id=f"{kind}: {b.name}") for kind, rows in KINDS.items() for b in rows]
)
def test_a_bad_input_is_one_line_and_leaves_nothing(sound, tmp_path, monkeypatch, caplog, recwarn, case):
    here = tmp_path / "here"
    shutil.copytree(sound, here)
    monkeypatch.chdir(here)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    for spoil in case.spoils:
        spoil()
    before = listing(tmp_path)
    done = CliRunner().invoke(app, shlex.split(case.command), prog_name="phosphene", catch_exceptions=False)
    said = PROGRESS.sub("", done.stderr)
    assert (done.exit_code, said.count("\n")) == (2, 1), done.output
    assert said.startswith("phosphene: ")
    assert case.words in said
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert [str(warned.message) for warned in recwarn] == []
    assert listing(tmp_path) == before
