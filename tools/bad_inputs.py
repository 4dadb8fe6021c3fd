"""Writes docs/bad-input.md: the bad inputs that the tests try, and the line with which each is answered.

    python tools/bad_inputs.py

Runs the tests of what reads users' files and notes every `PhospheneError` that they provoke. Of answers that differ in
a number or a name alone, the first is kept; damage done at random is left out.
"""

import re
import sys
import tempfile
from pathlib import Path

import pytest

from phosphene.errors import PhospheneError

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = {
    "Pickles, `.npy` and torch files": "tests/utils/restricted",
    "Files made to harm": "tests/test_hostile.py",
    "Tables that people write": "tests/utils/test_tables.py",
    "Gaps and labels of own tables": "tests/datasets/test_own_tables.py",
    "Captions that people write": "tests/captions/test_caption_tables.py",
    "Mistakes with own data": "tests/datasets/test_own_mistakes.py",
    "THINGS-EEG2": "tests/datasets/test_things_eeg2.py",
    "THINGS-MEG": "tests/datasets/test_things_meg.py",
    "EEGCVPR40": "tests/datasets/test_eegcvpr40.py",
    "A BIDS study": "tests/datasets/test_bids.py",
    "BIDS as people write it": "tests/datasets/test_bids_as_written.py",
    "Onsets": "tests/datasets/test_onsets.py",
    "Bad stretches": "tests/datasets/test_stretches.py",
    "Arrays and tables": "tests/datasets/test_arrays.py",
    "MNE objects": "tests/datasets/test_own.py",
    "Units and scale": "tests/datasets/test_units.py",
    "Types of channels": "tests/eeg/test_channel_names.py",
    "The Muse recordings": "tests/datasets/test_muse.py",
    "Preprocessing": "tests/eeg/test_preprocessing.py",
    "Trials": "tests/eeg/test_trials.py",
    "Downloads": "tests/datasets/test_fetch.py",
    "Recipes": "tests/runs/test_recipe.py",
    "Pictures": "tests/utils/test_open_picture.py",
    "NaN and infinity": "tests/utils/test_not_finite.py",
    "At the command line": "tests/test_bad_inputs.py",
}
BY_KIND = CHAPTERS["At the command line"]
HEAD = """# Bad input, and what it is answered

Each line below was provoked by a test (`python tools/bad_inputs.py` writes this page). At the command line such an
error is one line on stderr and exit status 2; nothing is half-written, and nothing of an untrusted file is run.
"""


class Heard:
    """Each answer, with the test that provoked it."""

    def __init__(self) -> None:
        self.test = ""
        self.answers: list[tuple[str, str]] = []

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self.test = item.nodeid

    def note_answers(self) -> None:
        """From now on every answer is noted as it is made."""
        make = PhospheneError.__init__

        def noted(error: PhospheneError, message: str = "") -> None:
            make(error, message)
            self.answers.append((self.test, str(error)))

        PhospheneError.__init__ = noted  # type: ignore[method-assign]


def tidy(answer: str) -> str:
    """Without the folders of this machine."""
    answer = re.sub(rf"(?:{tempfile.gettempdir()}|{ROOT.parent})/(?:[^ ,:)'\"/]+/)*", "…/", answer)
    answer = answer if len(answer) <= 300 else f"{answer[:300]} ..."
    return re.sub(r"(127\.0\.0\.1|localhost):\d+", r"\1", answer).replace("|", "\\|").replace("\n", " ")


def skeleton(answer: str) -> str:
    """What stays of an answer without its names and numbers, nor the piece of the data that it begins with."""
    found = re.sub(r"\S*/\S*|'[^']*'|\d[\d.,]*", "#", answer)
    return re.sub(r"^(?:\S+: )+", "", found)


def kind_of(test: str) -> str:
    """The kind of input, where a test has several and each case is named "kind: input"."""
    found = re.match(rf"{BY_KIND}::\w+\[(\w+): ", test)
    return found[1] if found else ""


def words(test: str) -> str:
    """A test's name as it would be said."""
    name, _, case = test.partition("::")[2].partition("[")
    case = case.rstrip("]")
    if kind := kind_of(test):
        return case.removeprefix(f"{kind}: ")
    return name.removeprefix("test_").replace("_", " ") + (f" ({case[:60]})" if re.fullmatch(r"[\w .]+", case) else "")


def heading(chapter: str, test: str) -> str:
    """The chapter, and the kind of input where a test has several."""
    kind = kind_of(test)
    return f"{chapter}: {kind}" if kind else chapter


def main() -> int:
    heard = Heard()
    heard.note_answers()
    rows = [HEAD]
    for chapter, path in CHAPTERS.items():
        heard.answers = []
        if status := pytest.main(["-q", "-p", "no:cacheprovider", str(ROOT / path)], plugins=[heard]):
            return int(status)
        known: dict[str, set[str]] = {}
        for test, answer in heard.answers:
            if re.search("changed_bytes|damaged_file|fuzz|an_accepted", test):
                continue
            if (title := heading(chapter, test)) not in known:
                rows += [f"\n## {title}\n", "| the test | the answer |", "|---|---|"]
            if skeleton(answer) not in known.setdefault(title, set()):
                known[title].add(skeleton(answer))
                rows.append(f"| {words(test)} | {tidy(answer)} |")
    (ROOT / "docs" / "bad-input.md").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
