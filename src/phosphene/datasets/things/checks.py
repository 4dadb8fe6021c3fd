"""Files of THINGS-EEG2 against what they are known to hold: one line for each difference."""

from collections.abc import Mapping, Sequence

import numpy as np

from phosphene.datasets.things.facts import Facts
from phosphene.datasets.things.preprocessed import Stored
from phosphene.datasets.things.raw import Continuous


def differs(where: str, what: str, found: float, expected: float | None) -> list[str]:
    """A line if ``found`` is not what was expected; None expects nothing."""
    same = expected is None or abs(found - expected) < 1e-6
    return [] if same else [f"{where}: {found:g} {what}, {expected:g} expected"]


def of_stored(name: str, parts: Mapping[str, Stored], facts: Facts) -> list[str]:
    """A subject's stored epochs: pictures, trials, channels, samples, rate and time axis."""
    lines = []
    for part in ("train", "test"):
        if part not in parts:
            lines.append(f"{name}/{part} is missing")
            continue
        stored, where = parts[part], f"{name}/{part}"
        n_images = stored.table["number" if "number" in stored.table else "stimulus"].nunique()
        lines += differs(where, "pictures", n_images, facts.images(part))
        lines += differs(where, "trials", len(stored.table), facts.images(part) * facts.repeats(part))
        lines += differs(where, "channels", len(stored.ch_names), facts.n_chans)
        lines += differs(where, "samples", stored.eeg.shape[-1], facts.n_times)
        lines += differs(where, "Hz", stored.sfreq, facts.sfreq)
        lines += differs(where, "s as the first time", stored.tmin, facts.tmin)
    return lines


def of_raw(name: str, recordings: Sequence[Continuous], facts: Facts) -> list[str]:
    """A subject's recordings: sessions, pictures and how often each was shown, channels, rate."""
    lines = differs(name, "sessions", len({r.session for r in recordings}), facts.sessions)
    for part in ("train", "test"):
        some, where = [r for r in recordings if r.part == part], f"{name}/{part}"
        if not some:
            lines.append(f"{where} is missing")
            continue
        counts = np.unique(np.concatenate([r.numbers for r in some]), return_counts=True)[1]
        lines += differs(where, "pictures", len(counts), facts.images(part))
        odd = int(np.sum(counts != facts.repeats(part)))
        lines += differs(where, f"pictures not shown {facts.repeats(part)} times", odd, 0)
        for r in some:
            lines += differs(r.name, "channels", len(r.ch_names), facts.n_chans)
            lines += differs(r.name, "Hz", r.sfreq, facts.sfreq)
    return lines
