"""What `phosphene audit` found: every control, and what is drawn without the EEG."""

from typing import Any

from phosphene.audit.decoding import GATE, RULE
from phosphene.evaluation.chance import ALPHA, p_text
from phosphene.report.markup import Content, picture, table, tag
from phosphene.report.run import Run

_GRADES = {"fail": "bad", "pass": "good"}
_ORDER = {"fail": 0, "pass": 1, "shown": 2, "left out": 3}
_DRAWN = {
    "noise": "Noise for EEG",
    "noise_trained": "Trained on noise",
    "silence": "EEG of zeros",
    "oracle": "True label",
    "label": "Label read",
    "nothing": "Nothing",
    "prior": "Any caption",
    "again": "Another seed",
}
_ROWS = 5


def audited(run: Run) -> list[Content]:
    """The verdict, the table of controls (failed ones first), and a few samples beside their controls."""
    if not run.audit:
        asks = f"`phosphene audit {run.folder}` tests whether these scores reflect the pictures."
        return [tag("p", f"Not audited yet: {asks}")]
    failed = sorted({c["name"] for c in run.audit if c["verdict"] == "fail"})
    said = f"Gates failed: {', '.join(failed)}." if failed else "No gate failed."
    whole = [c for c in run.audit if c["fold"] == "all"]
    rows = sorted(whole, key=lambda c: _ORDER[c["verdict"]])
    return [
        tag(
            "p",
            tag("span", said, class_="bad" if failed else "good"),
            f" The table covers all folds together; results by fold are in audit.json. {RULE}",
        ),
        table(
            ["Control", "Question", "Value", "Chance", "Under the null", "p", "Verdict"],
            [
                [
                    c["name"],
                    c["question"],
                    _value(c),
                    _number(c["chance"]),
                    _null(c),
                    _p(c),
                    tag("span", f"{c['verdict']}: {c['reason']}", class_=_GRADES.get(c["verdict"], "plain")),
                ]
                for c in rows
            ],
            class_="overlaps",
        ),
        *_curve(whole),
        *_drawn(run),
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _p(control: dict[str, Any]) -> str:
    """With as many digits as show on which side of its threshold it lies."""
    level = GATE if control["verdict"] in ("pass", "fail") else ALPHA
    return "" if control["p"] is None else p_text(control["p"], level).removeprefix("p ").removeprefix("= ")


def _value(control: dict[str, Any]) -> str:
    shown = _number(control["value"])
    return f"{shown} ({_span(control)})" if control["band"] == "value" and control["low"] is not None else shown


def _null(control: dict[str, Any]) -> str:
    return _span(control) if control["band"] == "null" and control["low"] is not None else ""


def _span(control: dict[str, Any]) -> str:
    return f"{_number(control['low'])} to {_number(control['high'])}"


def _curve(controls: list[dict[str, Any]]) -> list[Content]:
    """Identification against distance in time."""
    found = next((c["curve"] for c in controls if c["curve"]), None)
    if not found:
        return []
    head: list[Content] = ["Distance in time to training (C3)", *(f"{gap:.3g}" for gap, _, _ in found)]
    row: list[Content] = ["Two-way identification", *(f"{value:.3f}" for _, value, _ in found)]
    return [table(head, [row], class_="overlaps")]


def _drawn(run: Run) -> list[Content]:
    """Samples evenly spaced over those that were audited: what was seen, drawn from EEG, and drawn without."""
    folder = run.folder / "audit" / "images"
    kinds = [key for key in _DRAWN if (folder / key).is_dir()]
    if not kinds:
        return []
    places = {}
    for fold in run.folds:
        name = run.experiment.folder(fold).name
        for i, (_, seen) in enumerate(run.decoded(fold).table.iterrows()):
            path = f"{name}-{i:05d}.png"
            if all((folder / key / path).is_file() for key in kinds):
                places[path] = (fold, i, seen)
    chosen = list(places)[:: max(1, -(-len(places) // _ROWS))]
    stimuli, rows = run.trials.stimuli, []
    for path in chosen:
        fold, i, seen = places[path]
        image, what = str(stimuli["image"].get(seen["stimulus"], "")), str(seen["concept"])
        row: list[Content] = [picture(image, f"seen: {what}", 72)]
        row.append(picture(run.experiment.picture(fold, i), f"drawn from EEG while {what} was seen", 72))
        row += [picture(folder / key / path, f"{_DRAWN[key]}, while {what} was seen", 72) for key in kinds]
        rows.append(row)
    head: list[Content] = ["Seen", "EEG", *(_DRAWN[key] for key in kinds)]
    note = "All columns except the last start from the same noise as the run's own drawing. Rows are evenly spaced."
    return [tag("h4", "Drawn without the EEG"), table(head, rows, class_="samples"), tag("p", note, class_="note")]
