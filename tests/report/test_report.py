"""The page of a run: known figures appear, nothing is injected, nothing is fetched, and what is missing is said."""

import json
import re
import shutil
from html.parser import HTMLParser
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from conftest import without_checksums
from phosphene.eeg.trials import Signal, Trials
from phosphene.errors import PhospheneError
from phosphene.evaluation.protocols import Split
from phosphene.evaluation.scores import COLUMNS
from phosphene.methods.nice import NICE
from phosphene.report import conclusion, headline, trust, words, write_report
from phosphene.report.markup import render, tag
from phosphene.report.run import Run
from phosphene.runs.experiment import Experiment
from phosphene.runs.recipe import Recipe
from phosphene.runs.scoring import score
from phosphene.simulate.brain import CHANNELS, montage
from phosphene.simulate.scenes import COLOURS, OBJECTS, Scene, draw
from phosphene.targets.clip import CLIPImage

EVIL = "<script>alert('x')</script>"
N_TEST, N_TRAIN, N_TIMES = 24, 12, 40
SCORES = [
    # metric, value, low, high, n, chance, shuffled, ceiling, p
    ("image_top1", 0.31, 0.25, 0.38, 24, 0.005, 0.005, 0.87, 0.0005),
    ("image_top5", 0.62, 0.5, 0.7, 24, 0.025, 0.03, 0.99, 0.0005),
    ("image_median_rank", 3.0, 2.0, 5.0, 24, 12.5, 12.0, 1.0, 0.0005),
    ("caption_object_top1", 0.05, 0.0, 0.1, 24, 0.03, 0.02, 0.9, 0.4),
    ("drawn_2way", 0.8, 0.7, 0.9, 24, 0.5, 0.49, np.nan, 0.0005),
]


class Page(HTMLParser):
    """The elements of a page, and whether they are closed in order."""

    void = frozenset({"img", "br", "meta", "link"})

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        if name not in self.void:
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        self.elements.append((name, dict(attributes)))

    def handle_endtag(self, name):
        if name not in self.void:
            assert self.open.pop() == name

    def all(self, name, **wanted):
        return [a for n, a in self.elements if n == name and all(a.get(k) == v for k, v in wanted.items())]


def _write_scores(folder, rows, name="scores.csv"):
    frame = pd.DataFrame(rows, columns=[*COLUMNS[:9]])
    frame = frame.assign(subject="01", seed=0, protocol="abc", backbone="mini")
    frame.reindex(columns=list(COLUMNS)).to_csv(folder / name, index=False)


@pytest.fixture(scope="module")
def retrieval(tmp_path_factory):
    """A run whose decoded vectors are the pictures' own plus noise; its shuffled control's are another picture's."""
    root = tmp_path_factory.mktemp("retrieval")
    out, rng = root / "run", np.random.default_rng(0)
    scenes = [Scene(OBJECTS[i % 16], list(COLOURS)[i % 10], "snow", "left", i // 16) for i in range(N_TEST + N_TRAIN)]
    rows = []
    for i, scene in enumerate(scenes):
        path = root / f"p{i}.png"
        draw(scene).save(path)
        concept = EVIL if i == 0 else f"{scene.concept} {i}"
        rows.append({"stimulus": f"s{i}", "image": str(path), "concept": concept, **scene.captions})
    stimuli = pd.DataFrame(rows).set_index("stimulus")
    names = np.repeat(stimuli.index, 2)
    table = pd.DataFrame({"subject": "01", "stimulus": names, "onset": np.arange(len(names)) * 0.4})
    table["split"] = np.where(np.arange(len(names)) < 2 * N_TEST, "test", "train")
    signal = Signal(CHANNELS, 50.0, -0.1, tuple(map(tuple, montage().get_positions()["ch_pos"].values())))
    wave = np.sin(np.arange(N_TIMES) / 4) * rng.standard_normal((63, 1))
    eeg = 1e-6 * (wave + rng.standard_normal((len(names), 63, N_TIMES)))
    notes = ["simulated EEG: a known model", f"watch {EVIL}"]
    recipe = Recipe.read("demo", {"dataset.root": str(root), "window": None, "name": "made", "description": EVIL})
    experiment = Experiment(recipe, out)
    out.mkdir()
    (out / "config.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    Trials(eeg.astype(np.float32), table, stimuli, signal, notes).save(out / "trials")
    facts = {"name": "synthetic", "licence": "CC0", "citation": "none", "design": "rapid", "simulated": True}
    (out / "dataset.json").write_text(json.dumps(facts))
    overlaps = {"01-test": experiment.overlaps()["01-test"]}
    record = {"overlaps": overlaps, "git": "abc123", "backbones": {"mini": "x"}, "packages": {"torch": "2"}}
    (out / "provenance.json").write_text(json.dumps(record))
    (fold,) = experiment.folds
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHOSPHENE_CACHE", str(root / "cache"))
        vectors = CLIPImage("mini").table(stimuli[:N_TEST]).vectors
    test = experiment.protocol.samples(experiment.trials.select(fold.test), "test")
    log = []
    for shuffled in (False, True):
        folder = experiment.folder(fold, shuffled)
        NICE(63, N_TIMES, 50.0, encoder="projection").save(folder / "model")
        (folder / "decoded").mkdir()
        near = vectors + 0.02 * vectors.std() * torch.from_numpy(rng.standard_normal(vectors.shape)).float()
        heads = {"head.image": (near if not shuffled else near.roll(7, 0)).contiguous()}
        save_file(heads, folder / "decoded/decoded.safetensors")
        test.table.to_csv(folder / "decoded/table.csv", index=False)
        log += [{"fold": folder.name, "stage": "align", "epoch": e, "loss": 3 / e, "val_loss": 3.5 / e} for e in (1, 2)]
        for i in range(N_TEST):
            path = experiment.picture(fold, i, shuffled=shuffled)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (64, 64), (10 * i, 100, 250 * shuffled)).save(path)
    experiment.retrieve(fold).to_csv(experiment.folder(fold) / "retrieved.csv", index=False)
    (out / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log) + '{"cut off')
    _write_scores(out, SCORES)
    _write_scores(
        out, [(m, s, s, s, n, c, s, np.nan, 0.5) for m, _, _, _, n, c, s, *_ in SCORES], "scores_shuffled.csv"
    )
    return out


@pytest.fixture(scope="module")
def concept(tmp_path_factory):
    """Two categories over three runs, decoded by LDA; category pictures in the gallery."""
    root = tmp_path_factory.mktemp("concept")
    out, rng = root / "run", np.random.default_rng(1)
    for name in ("face", "house"):
        Image.new("RGB", (200, 150), "gray").save(root / f"{name}.png")
    stimuli = pd.DataFrame(
        {"concept": ["house", "face"] * 2, "image": ["", "", str(root / "house.png"), str(root / "face.png")]},
        index=pd.Index(["house", "face", "house/1", "face/1"], name="stimulus"),
    )
    labels = np.tile([0, 1], 45)
    table = pd.DataFrame(
        {
            "subject": "1",
            "run": np.repeat(["01", "02", "03"], 30),
            "stimulus": np.array(["house", "face"])[labels],
        }
    )
    eeg = rng.standard_normal((90, 4, 32)) + 0.3 * labels[:, None, None]
    recipe = Recipe.read(
        "muse-houses-faces",
        {"dataset.root": str(root), "evaluation.n_perm": 19, "evaluation.n_boot": 50, "method.bin_samples": 8},
    )
    out.mkdir()
    (out / "config.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    signal = Signal(("TP9", "AF7", "AF8", "TP10"), 64.0, -0.1)
    Trials((1e-6 * eeg).astype(np.float32), table, stimuli, signal).save(out / "trials")
    experiment = Experiment(recipe, out)
    experiment.train()
    score(experiment)
    return out


@pytest.fixture
def made(retrieval, tmp_path):
    """A copy that may be damaged."""
    return shutil.copytree(retrieval, tmp_path / "run")


def read(path):
    return path.read_text(encoding="utf-8")


def text(html):
    """What is read on a page."""
    plain = re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", html, flags=re.S))
    return re.sub(r"\s+", " ", plain)


@pytest.fixture(scope="module")
def page(retrieval):
    return read(write_report(retrieval))


def test_headline_figures_stand_beside_their_controls(page, retrieval):
    shown = text(page)
    assert "Top-1 among 24 pictures of unseen concepts" in shown
    assert "31 % 95 % interval 25–38 %" in shown
    assert "chance 0.5 % shuffled control 0.5 % ideal observer 87 % p &lt; 0.001, corrected 0.002" in shown
    assert "Above chance; the shuffled control is at chance." in shown
    assert "Not distinguishable from chance." in shown
    rule = "Above chance means p <= 0.05, corrected for 4 tests (Holm); p decides, not the interval."
    (first, *_) = headline(retrieval)
    assert first == (
        "Top-1 among 24 pictures of unseen concepts: 31 % (95 % interval 25–38 %, chance 0.5 %, "
        "shuffled control 0.5 %, ideal observer 87 %, p < 0.001, corrected 0.002). "
        "Above chance; the shuffled control is at chance."
    )
    assert conclusion(retrieval)[:-1] == headline(retrieval)
    assert conclusion(retrieval)[-1] == rule
    assert rule in shown.replace("&lt;", "<")


def test_the_page_is_whole_and_fetches_nothing(page):
    parsed = Page(page)
    assert parsed.open == []
    assert page.startswith("<!DOCTYPE html>")
    assert not parsed.all("script")
    assert not parsed.all("link")
    for name, attributes in parsed.elements:
        for key in ("src", "href", "xlink:href"):
            if key in attributes:
                assert attributes[key].startswith(("data:image/", "#")), (name, attributes[key][:80])
    assert not re.search(r"url\((?!#)|@import", page)
    ids = [a["id"] for _, a in parsed.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in parsed.elements:
        target = attributes.get("href") or attributes.get("xlink:href") or "#"
        assert target == "#" or target.startswith("data:") or target[1:] in ids
    assert all(a.get("alt") for a in parsed.all("img"))
    assert len(page) < 2e6


def test_what_a_study_says_is_escaped(page):
    assert EVIL not in page
    assert render(EVIL) in page
    assert tag("p", EVIL, title='"') == f'<p title="&quot;">{render(EVIL)}</p>'


def test_stamps_and_notes(page):
    shown = text(page)
    assert "simulated EEG" in shown
    assert "mini backbone: for demonstration, never a result" in shown
    assert "simulated EEG: a known model" in shown
    assert "LEAK" not in shown


def test_the_marked_picture_is_the_true_one(retrieval, page):
    run = Run(retrieval)
    marked = Page(page).all("img", **{"class": "true"})
    hits = [s for s in run.spread(12) if s.seen["stimulus"] in [name for name, _ in s.retrieved[:5]]]
    assert len(marked) == len(hits) > 3
    for image, sample in zip(marked, hits, strict=True):
        place = 1 + [name for name, _ in sample.retrieved].index(sample.seen["stimulus"])
        assert image["alt"] == f"place {place}: {sample.seen['concept']}, the picture seen"
        assert sample.place == place


def test_samples_run_evenly_from_best_to_worst(retrieval):
    run = Run(retrieval)
    places = [s.place for s in run.spread(5)]
    everything = sorted(s.place for s in run.samples)
    assert places == [everything[i] for i in (0, 6, 12, 17, 23)]


def test_captions_are_marked_by_comparison_with_the_true_one(retrieval):
    run = Run(retrieval)
    chosen = run.spread(3)
    run.add_captions(chosen)
    for sample in chosen:
        assert [level for level, _, _ in sample.captions] == ["object", "spatial", "thematic"]
        assert sample.captions[0][2] == run.trials.stimuli.loc[sample.seen["stimulus"], "ObjectSnap"]
    themes = set(run.trials.stimuli["ThemeTag"])
    assert {sample.captions[2][1] for sample in chosen} <= themes
    best = chosen[0]
    assert best.captions[2][1] == best.captions[2][2]


def test_two_categories(concept):
    page = read(write_report(concept))
    shown = text(page)
    assert Page(page).open == []
    value = pd.read_csv(concept / "scores.csv").set_index("metric").loc["auc", "value"]
    assert "AUC, face against house" in shown
    assert f"{value:.2f} 95 % interval" in shown
    assert "p = 0.05" in shown
    run = Run(concept)
    right = [run.goodness(s) > 0 for s in run.spread(12)]
    assert right == sorted(right, reverse=True)
    assert set(right) == {True, False}
    for sample in run.samples:
        decided = run.trials.stimuli.loc[sample.retrieved[0][0], "concept"]
        assert (decided == sample.seen["concept"]) == (run.goodness(sample) > 0)
    assert "Solved in closed form" in shown
    assert "kept apart, as intended" in shown
    assert "recorded EEG" in shown


def test_several_runs_share_a_page(retrieval, concept):
    page = read(write_report(retrieval, [concept]))
    shown = text(page)
    assert Page(page).open == []
    assert "simulated and real people" in shown
    assert [a["id"] for a in Page(page).all("h2")] == ["run1", "run2"]
    ids = [a["id"] for _, a in Page(page).elements if "id" in a]
    assert len(ids) == len(set(ids))


def test_without_control_generator_log_pictures_and_record(made):
    config = yaml.safe_load(read(made / "config.yaml"))
    config["evaluation"]["shuffled_control"] = False
    config["generator"] = None
    (made / "config.yaml").write_text(yaml.safe_dump(config))
    for name in ("scores_shuffled.csv", "log.jsonl", "provenance.json", "dataset.json"):
        (made / name).unlink()
    shutil.rmtree(made / "images")
    _write_scores(made, [(*row[:6], np.nan, *row[7:]) for row in SCORES])
    shown = text(read(write_report(made)))
    assert "Above chance; no shuffled control to compare." in shown
    assert "No log was kept." in shown
    assert "Drawn" not in shown


def test_the_ideal_observer_stands_in_the_table_where_it_is_known(page, made):
    shown = text(page)
    assert "Shuffled control Ideal observer p n" in shown
    assert "31 % 25–38 0.5 % 0.5 % 87 % &lt; 0.001 24" in shown
    assert "80 % 70–90 50 % 49 % – &lt; 0.001 24" in shown
    assert "exact response to each picture of the gallery" in shown
    old = pd.read_csv(made / "scores.csv").drop(columns="ceiling")
    old.to_csv(made / "scores.csv", index=False)
    assert "deal observer" not in text(read(write_report(made)))


def test_what_training_had_to_say_is_on_the_page(page, made):
    assert "are cut" not in text(page)
    (made / "notes.json").write_text('["ObjectSnap: 3 of 4 captions are cut <b>"]')
    assert "ObjectSnap: 3 of 4 captions are cut &lt;b&gt;" in text(read(write_report(made)))


def test_lost_pictures_leave_a_note(made):
    shutil.rmtree(made / "images")
    assert "no picture" in text(read(write_report(made)))


def test_a_control_above_chance_is_told(made):
    _write_scores(
        made, [(m, v, v, v, n, c, s, np.nan, 0.0005) for m, v, _, _, n, c, s, *_ in SCORES], "scores_shuffled.csv"
    )
    assert "Above chance, but so is the shuffled control" in text(read(write_report(made)))


def test_pictures_known_from_training_are_told(made):
    record = json.loads(read(made / "provenance.json"))
    record["overlaps"]["01-test"].update(stimulus=4, concept=4)
    (made / "provenance.json").write_text(json.dumps(record))
    shown = text(read(write_report(made)))
    assert "test pictures were in training" in shown
    assert "unseen concepts" not in shown


def test_pictures_known_by_another_name_are_told(made):
    """The names of test pictures are new, and three of the pictures are not."""
    record = json.loads(read(made / "provenance.json"))
    assert "new by name only" not in text(read(write_report(made)))
    record["overlaps"]["01-test"].update(bytes=0, pixels=0, near_duplicate=3)
    (made / "provenance.json").write_text(json.dumps(record))
    shown = text(read(write_report(made)))
    assert shown.count("new by name only: the pictures were in training") == 2  # stimulus and concept
    assert shown.count("test pictures were in training") == 1
    assert "unseen concepts" not in shown


def test_a_broken_promise_is_told(made):
    row = {
        "fold": "01-test",
        "a": "train",
        "b": "val",
        "unit": "pixels",
        "n_shared": 3,
        "shared": "s1=s2",
        "broken": True,
    }
    pd.DataFrame([row]).to_csv(made / "overlaps.csv", index=False)
    told = "The protocol keeps train and val apart, but they share pixels (3), such as s1=s2"
    assert told in text(read(write_report(made)))
    pd.DataFrame([{**row, "broken": False}]).to_csv(made / "overlaps.csv", index=False)
    assert told not in text(read(write_report(made)))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "config.yaml").unlink(), "is not a run folder"),
        (lambda f: (f / "scores.csv").unlink(), "finish it with `phosphene run`"),
        (lambda f: (f / "scores.csv").write_text("metric,value\nimage_top1,x\n"), "write it again with"),
        (lambda f: (f / "provenance.json").write_text("{"), "is not readable JSON"),
        (lambda f: shutil.rmtree(f / "trials"), "holds no trials"),
        (lambda f: shutil.rmtree(f / "folds"), "is not trained yet"),
        (lambda f: next(f.glob("folds/*/decoded/decoded.safetensors")).write_bytes(b"x"), "cannot be read"),
    ],
)
def test_damage_is_told_in_one_line_and_keeps_the_old_page(made, damage, message):
    (made / "report.html").write_text("old")
    damage(made)
    with pytest.raises(PhospheneError, match=message) as error:
        write_report(made)
    assert "\n" not in str(error.value)
    assert read(made / "report.html") == "old"


@pytest.mark.parametrize(
    ("value", "kind", "shown"),
    [
        (0.314, "share", "31 %"),
        (0.005, "share", "0.5 %"),
        (0.0, "share", "0 %"),
        (1.0, "share", "100 %"),
        (0.0996, "share", "10 %"),
        (0.694, "auc", "0.69"),
        (4.0, "rank", "4"),
        (12.5, "rank", "12.5"),
        (np.nan, "share", "–"),
    ],
)
def test_amounts(value, kind, shown):
    assert words.amount(value, kind) == shown


ABOVE = "Above chance; the shuffled control is at chance."
SO_IS_THE_CONTROL = "Above chance, but so is the shuffled control: find the reason before trusting this score."
NOT = "Not distinguishable from chance."


def scored(**changed):
    row = {"metric": "auc", "value": 0.7, "ci_low": 0.6, "ci_high": 0.8, "chance": 0.5, "shuffled": 0.5, "p": 0.001}
    return pd.Series({**row, "n_perm": 2000, **changed})


@pytest.mark.parametrize(
    ("changed", "control", "grade", "said"),
    [
        ({}, None, "good", ABOVE),
        ({"shuffled": np.nan}, None, "good", "Above chance; no shuffled control to compare."),
        ({}, 0.3, "good", ABOVE),
        ({}, 0.001, "bad", SO_IS_THE_CONTROL),
        ({"shuffled": 0.56}, None, "bad", SO_IS_THE_CONTROL),
        ({"shuffled": 0.56, "n": 12, "n_perm": 60}, None, "good", ABOVE),  # a mean of so few that lies there by chance
        ({"shuffled": 0.56, "n": 240, "n_perm": 60}, None, "bad", SO_IS_THE_CONTROL),
        ({"p": 0.05}, 0.3, "good", ABOVE),  # the threshold counts
        ({"p": 0.06}, 0.3, "plain", f"{NOT} The verdict follows p, although the interval excludes chance."),
        ({"p": 0.06, "ci_low": 0.4}, 0.3, "plain", NOT),
        ({"p": 0.99, "ci_high": 0.4, "ci_low": 0.3}, 0.3, "plain", f"{NOT} It is below chance."),
        ({"ci_low": 0.45}, 0.3, "good", f"{ABOVE} The verdict follows p, although the interval includes chance."),
        ({"ci_low": np.nan, "ci_high": np.nan}, 0.3, "good", ABOVE),
        ({"p": 0.03, "p_corrected": 0.06, "n_tests": 2, "ci_low": 0.4}, 0.3, "plain", NOT),
        ({"p": 1 / 21, "p_min": 1 / 21, "n_perm": 20}, 0.3, "good", ABOVE),
        (
            {"p": 1 / 11, "p_min": 1 / 11, "n_perm": 10},
            0.3,
            "plain",
            "Undecided: 10 exchanges can give no p below 0.091; at least 19 are needed (evaluation.n_perm).",
        ),
        (
            {
                "p": 1 / 21,
                "p_corrected": 2 / 21,
                "n_tests": 2,
                "p_min": 1 / 21,
                "p_min_corrected": 2 / 21,
                "n_perm": 20,
            },
            0.3,
            "plain",
            "Undecided: 20 exchanges can give no p below 0.048 (0.095 corrected for 2 tests); at least 39 are needed "
            "(evaluation.n_perm).",
        ),
        (
            {"p": 0.5, "p_min": 0.5},
            0.5,
            "plain",
            "Undecided: no power: so few different exchanges exist that no p is "
            "below 0.50; a larger test part (concepts, trials or subjects) is needed.",
        ),
        ({"p": np.nan}, None, "plain", "Undecided: there is no p."),
        ({"metric": "image_median_rank", "ci_low": 2, "ci_high": 5, "chance": 12}, 0.3, "good", ABOVE),
        (
            {"metric": "image_median_rank", "ci_low": 14, "ci_high": 15, "chance": 12, "p": 0.9},
            0.3,
            "plain",
            f"{NOT} It is worse than chance.",
        ),
    ],
)
def test_verdicts_follow_the_rule(changed, control, grade, said):
    found = words.verdict(scored(**changed), None if control is None else pd.Series({"p": control}))
    assert found == (grade, said)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "0.70 (95 % interval 0.60–0.80, chance 0.50, shuffled control 0.50, p = 0.001)"),
        (
            {"ci_low": np.nan, "ci_high": np.nan, "interval": "no interval: 2 test concepts are too few, 6 are needed"},
            "0.70 (no interval: 2 test concepts are too few, 6 are needed, chance 0.50, shuffled control 0.50, "
            "p = 0.001)",
        ),
        (
            {"ci_low": 0.7, "ci_high": 0.7},  # of a table that was written before
            "0.70 (95 % interval 0.70–0.70 [the interval has zero width: too few samples, or all samples "
            "score the same], chance 0.50, shuffled control 0.50, p = 0.001)",
        ),
        (
            {"ci_low": 0.0, "ci_high": 1.0},
            "0.70 (95 % interval 0.00–1.00 [the interval covers every possible value: "
            "too few samples], chance 0.50, shuffled control 0.50, p = 0.001)",
        ),
        (
            {"p": 0.0503, "n_tests": 3, "p_corrected": 0.151},
            "0.70 (95 % interval 0.60–0.80, chance 0.50, shuffled control 0.50, p = 0.0503, corrected 0.15)",
        ),
    ],
)
def test_a_score_on_one_line_says_what_its_interval_is_worth(changed, said):
    assert words.sentence(scored(**changed)) == said


def test_every_split_has_its_words():
    assert set(trust._SPLITS) == set(get_args(Split))


def test_a_given_validation_part_is_told(made):
    assert "The epoch was chosen on a held-out" in trust.protocol(Run(made))
    table = pd.read_csv(without_checksums(made / "trials") / "table.csv", dtype=str)
    table.loc[table.index[table["split"] == "train"][0], "split"] = "val"
    table.to_csv(made / "trials" / "table.csv", index=False)
    assert "the study's own validation set" in trust.protocol(Run(made))


def test_scores_of_blocks_are_stamped_until_a_control_reads_beyond_the_block(retrieval, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(retrieval, out)
    facts = json.loads((out / "dataset.json").read_text())
    (out / "dataset.json").write_text(json.dumps({**facts, "design": "block"}))
    record = json.loads((out / "provenance.json").read_text())
    shared = {fold: {**counts, "block": 5} for fold, counts in record["overlaps"].items()}
    (out / "provenance.json").write_text(json.dumps({**record, "overlaps": shared}))
    assert all("BLOCK-CONFOUNDED" in line for line in headline(out))
    assert "BLOCK-CONFOUNDED" in write_report(out).read_text()
    control = {
        "name": "C1",
        "fold": "all",
        "verdict": "pass",
        "p": 0.01,
        "question": EVIL,
        "value": 0.7,
        "chance": 0.5,
        "low": 0.4,
        "high": 0.6,
        "reason": "read",
        "n": 40,
        "band": "null",
        "curve": [],
    }
    (out / "audit.json").write_text(json.dumps({"controls": [control]}))
    assert not any("BLOCK-CONFOUNDED" in line for line in headline(out))
    text = write_report(out).read_text()
    assert EVIL not in text
    assert "No gate failed" in text
    (out / "audit.json").write_text(json.dumps({"controls": [{**control, "p": 0.3, "verdict": "fail"}]}))
    assert all("BLOCK-CONFOUNDED" in line for line in headline(out))


def test_the_audits_controls_and_drawings_stand_on_the_page(retrieval, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(retrieval, out)
    curve = [[1.0, 0.9, 10], [5.0, 0.6, 10]]
    rows = [
        {
            "name": "C3",
            "fold": "all",
            "verdict": "shown",
            "p": 0.2,
            "question": "far?",
            "value": 0.71,
            "chance": 0.5,
            "low": 0.4,
            "high": 0.6,
            "reason": "no",
            "n": 40,
            "band": "null",
            "curve": curve,
        },
        {
            "name": "G6",
            "fold": "all",
            "verdict": "fail",
            "p": 0.4,
            "question": "label",
            "value": 0.81,
            "chance": 0.5,
            "low": 0.75,
            "high": 0.87,
            "reason": "adds nothing",
            "n": 40,
            "band": "value",
            "curve": [],
        },
        {
            "name": "C4",
            "fold": "01-test",
            "verdict": "shown",
            "p": 0.4,
            "question": "one fold",
            "value": 0.1,
            "chance": 0.5,
            "low": None,
            "high": None,
            "reason": "",
            "n": 40,
            "band": "null",
            "curve": [],
        },
    ]
    (out / "audit.json").write_text(json.dumps({"controls": rows}))
    for key in ("noise", "oracle"):
        (out / "audit" / "images" / key).mkdir(parents=True)
        for i in range(7):
            Image.new("RGB", (8, 8)).save(out / "audit" / "images" / key / f"01-test-{i:05d}.png")
    text = write_report(out).read_text()
    assert "Gates failed: G6." in text
    assert "0.810 (0.750 to 0.870)" in text
    assert "one fold" not in text
    assert "Two-way identification" in text
    page = Page(text)
    alts = [a["alt"] for a in page.all("img")]
    assert sum("Noise for EEG" in a for a in alts) == sum("True label" in a for a in alts) == 4  # every second of seven


def test_what_was_explained_stands_on_the_page_and_other_runs_have_no_such_section(retrieval, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(retrieval, out)
    assert "What the heads respond to" not in write_report(out).read_text()
    (out / "explain").mkdir()
    Image.new("RGB", (600, 200), "navy").save(out / "explain" / "levels.png")
    collapse = {"collapsed": True, "index": 0.93, "ci_low": 0.9, "ci_high": 0.96}
    facts = {"collapse": collapse, "left_out": {"tsne": EVIL}}
    (out / "explain" / "explain.json").write_text(json.dumps(facts))
    row = {"of": "run", "subject": "01", "auc": 0.914, "sign": 0.8, "spearman": 0.7, "n_a": 15, "n_b": 48}
    pd.DataFrame([row]).to_csv(out / "explain" / "truth.csv", index=False)
    text = write_report(out).read_text()
    assert "The heads have collapsed" in text
    assert "0.91" in text
    assert "15 of 63" in text
    assert EVIL not in text
    (shown,) = [a for a in Page(text).all("img") if a["alt"].startswith("Scalp maps by level")]
    assert int(shown["width"]) > 500
