"""What C7 counts: test pictures in training, whatever they are called there; and closed sets, which do not fail."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageEnhance, ImageOps

from phosphene.eeg.trials import Signal, Trials
from phosphene.evaluation.protocols import LEAKY, Protocol, overlap_table, overlaps
from phosphene.evaluation.shared import closed_set, shared_pictures
from phosphene.simulate.scenes import Scene, draw_with_mask
from phosphene.utils.duplicates import KINDS, same_pictures


def noise(seed=0, side=48):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8))


def scene(**changes):
    return draw_with_mask(
        Scene(**{"object": "car", "colour": "red", "background": "snow", "position": "left", **changes})
    )[0]


def grating(degrees, side=96):
    y, x = (np.mgrid[:side, :side] - side / 2) / side
    turn = np.radians(degrees)
    wave = np.cos(2 * np.pi * 6 * (x * np.cos(turn) + y * np.sin(turn)))
    return Image.fromarray((127.5 + 127 * wave).astype(np.uint8)).convert("RGB")


def symbol(picture):
    """White on black: the left half of the picture is an arrow."""
    drawn = Image.new("RGB", (96, 96), "white")
    for i in range(20):
        drawn.paste("black", (10 + i, 48 - i, 12 + i, 48 + i + 1))
    drawn.paste("black", (30, 44, 86, 52))
    return ImageOps.mirror(drawn) if picture == "right" else drawn


def cropped(image, left, top, right, bottom):
    return image.crop((left, top, image.width - right, image.height - bottom))


def resized(image, share):
    return image.resize((round(image.width * share), round(image.height * share)))


SAME = {
    "bytes": ("bytes", lambda i: i, "png", {}),
    "saved again": ("pixels", lambda i: i, "png", {"compress_level": 1}),
    "bmp": ("pixels", lambda i: i, "bmp", {}),
    "tiff": ("pixels", lambda i: i, "tiff", {}),
    "jpeg": ("near_duplicate", lambda i: i, "jpg", {"quality": 70}),
    "webp": ("near_duplicate", lambda i: i, "webp", {"quality": 80}),
    "half": ("near_duplicate", lambda i: resized(i, 0.5), "png", {}),
    "larger": ("near_duplicate", lambda i: resized(i, 1.5), "png", {}),
    "cropped by 2": ("near_duplicate", lambda i: cropped(i, 2, 2, 2, 2), "png", {}),
    "cropped by 4": ("near_duplicate", lambda i: cropped(i, 4, 4, 4, 4), "png", {}),
    "cropped at two sides": ("near_duplicate", lambda i: cropped(i, 3, 3, 0, 0), "png", {}),
    "cropped and resized": ("near_duplicate", lambda i: cropped(i, 3, 3, 3, 3).resize(i.size), "png", {}),
    "mirrored": ("near_duplicate", ImageOps.mirror, "png", {}),
    "mirrored and compressed": ("near_duplicate", ImageOps.mirror, "jpg", {"quality": 80}),
    "grey": ("near_duplicate", lambda i: i.convert("L"), "png", {}),
    "palette": ("near_duplicate", lambda i: i.convert("P", palette=Image.Palette.ADAPTIVE), "png", {}),
    "brighter": ("near_duplicate", lambda i: ImageEnhance.Brightness(i).enhance(1.1), "png", {}),
    "more contrast": ("near_duplicate", lambda i: ImageEnhance.Contrast(i).enhance(1.2), "png", {}),
}


def kinds(folder: Path, *pictures, **files) -> list[str]:
    """By which identities the pictures are the same."""
    rows = {}
    for i, picture in enumerate(pictures):
        rows[f"p{i}"] = picture if isinstance(picture, (str, Path)) else folder / f"{i}.png"
        if not isinstance(picture, (str, Path)):
            picture.save(rows[f"p{i}"])
    stimuli = pd.DataFrame({"image": {name: str(path) for name, path in rows.items()}})
    same = same_pictures(stimuli)
    return [kind for kind in KINDS if "p1" in same.of(kind, ["p0"])]


@pytest.mark.parametrize("of", [noise, scene])
@pytest.mark.parametrize("way", SAME)
def test_a_copy_is_the_same_picture_from_its_kind_on(tmp_path, way, of):
    kind, change, ending, options = SAME[way]
    original, copy = of(), tmp_path / f"copy.{ending}"
    change(original).save(copy, **({} if way == "bytes" else options))
    assert kinds(tmp_path, original, copy) == list(KINDS[KINDS.index(kind) :])


DIFFERENT = {
    "noise": lambda: (noise(0), noise(1)),
    "two colours": lambda: (Image.new("RGB", (48, 48), (37, 91, 150)), Image.new("RGB", (48, 48), (74, 182, 150))),
    "two greys": lambda: (Image.new("L", (48, 48), 100), Image.new("L", (48, 48), 104)),
    "gratings, left and right": lambda: (grating(45), grating(135)),
    "gratings, 15 degrees apart": lambda: (grating(45), grating(60)),
    "gratings, shifted": lambda: (grating(0), grating(180 - 1e-6).rotate(0, translate=(8, 0))),
    "arrows": lambda: (symbol("left"), symbol("right")),
    "another colour": lambda: (scene(), scene(colour="blue")),
    "another object": lambda: (scene(), scene(object="bus")),
    "another place": lambda: (scene(), scene(position="right")),
    "another ground": lambda: (scene(), scene(background="beach")),
    "another light": lambda: (scene(), scene(light="night")),
    "a companion more": lambda: (scene(), scene(companion="blue bird")),
    "drawn anew": lambda: (scene(seed=1), scene(seed=2)),
    "upside down": lambda: (scene(), ImageOps.flip(scene())),
    "negative": lambda: (scene(), ImageOps.invert(scene())),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_other_pictures_are_not_the_same(tmp_path, case):
    assert kinds(tmp_path, *DIFFERENT[case]()) == []


def test_a_flat_picture_is_known_by_its_colour(tmp_path):
    Image.new("RGB", (48, 48), (37, 91, 150)).save(tmp_path / "x.jpg")
    assert kinds(tmp_path, Image.new("RGB", (48, 48), (37, 91, 150)), tmp_path / "x.jpg")[-1:] == ["near_duplicate"]


def test_links_and_copies_in_other_folders_are_the_same_file(tmp_path):
    (tmp_path / "a").mkdir()
    noise().save(tmp_path / "a" / "x.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "a" / "x.png")
    assert kinds(tmp_path, tmp_path / "a" / "x.png", tmp_path / "link.png") == list(KINDS)
    assert kinds(tmp_path, tmp_path / "a" / "x.png", tmp_path / "a" / "x.png") == list(KINDS)


def test_what_cannot_be_opened_is_known_by_its_path(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    stimuli = pd.DataFrame({"image": {"a": "gone.png", "b": "gone.png", "c": str(tmp_path / "bad.png"), "d": ""}})
    same = same_pictures(stimuli)
    assert same.unread == ("a", "b", "c")
    assert [same.of(kind, ["a"]) for kind in KINDS] == [{"a", "b"}] * 3
    assert same.of("bytes", ["d"]) == set()


def test_nothing_is_opened_without_a_column_of_pictures_and_nothing_twice(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("phosphene.utils.duplicates.open_picture", lambda path: opened.append(path) or noise())
    assert not same_pictures(pd.DataFrame({"concept": {"a": "x"}}))
    noise().save(tmp_path / "x.png")
    stimuli = pd.DataFrame({"image": {"a": str(tmp_path / "x.png"), "b": str(tmp_path / "x.png")}})
    assert same_pictures(stimuli) is same_pictures(stimuli)
    assert len(opened) == 1
    noise(1).save(tmp_path / "x.png")  # a picture that changed is looked at again
    same_pictures(stimuli)
    assert len(opened) == 2


# -- what is counted ---------------------------------------------------------------------------------


def study(rows, images=None):
    """Trials of (subject, session, run, stimulus, split) rows."""
    table = pd.DataFrame(rows, columns=["subject", "session", "run", "stimulus", "split"])
    stimuli = pd.DataFrame({"concept": {s: f"c{s}" for s in table["stimulus"].unique()}})
    if images is not None:
        stimuli["image"] = pd.Series(images).reindex(stimuli.index).fillna("")
    return Trials(np.zeros((len(table), 1, 2), np.float32), table, stimuli, Signal(("Cz",), 100.0))


def runs(pictures, n_runs=3, subjects=("1",), repeats=2):
    return study([(s, "1", str(r), p, "train") for s in subjects for r in range(n_runs) for p in pictures] * repeats)


def closed(trials, **protocol):
    return closed_set(trials, list(Protocol(val_fraction=0, **protocol).folds(trials)))


@pytest.mark.parametrize("n", [2, 3, 40])
def test_a_study_of_the_same_pictures_in_every_run_is_a_closed_set(n):
    trials = runs([f"p{i}" for i in range(n)])
    assert closed(trials, split="leave_one_run_out") == n
    assert closed(trials, split="within_session") == n
    folds = list(Protocol(val_fraction=0, split="leave_one_run_out").folds(trials))
    found = shared_pictures(trials, folds)
    assert f"closed set of {n} pictures" in found.said()
    assert closed_set(trials, list(Protocol(split=LEAKY, val_fraction=0).folds(trials))) == 0


def test_closed_sets_of_joint_subjects_may_differ_from_one_to_the_next():
    own = [(s, "1", str(r), f"{s}{p}", "train") for s in "ab" for r in range(2) for p in range(4)]
    assert closed(study(own), split="leave_one_run_out", subjects="joint") == 8
    assert closed(runs("wxyz", subjects=("1", "2")), split="leave_one_subject_out", subjects="joint") == 4
    assert closed(study(own), split="leave_one_subject_out", subjects="joint") == 0  # nothing is shared


def test_closed_sets_may_be_given_and_have_lost_a_trial():
    rows = [("1", "1", "1", f"p{i}", "train") for i in range(8)] + [("1", "1", "2", f"p{i}", "test") for i in range(7)]
    assert closed(study(rows), split="given") == 7
    assert closed(study(rows[:8] + rows[8:12]), split="given") == 0  # half of them is no accident
    assert closed(study([*rows, ("1", "1", "2", "new", "test")]), split="given") == 0
    both = [(s, *rest) for s in "ab" for _, *rest in rows]
    assert closed(study(both), split="leave_one_subject_out", subjects="joint", and_given=True) == 7


def test_validation_pictures_belong_to_the_set():
    trials = runs([f"p{i}" for i in range(8)], n_runs=4)
    protocol = Protocol(split="leave_one_run_out", val_by="concept", val_fraction=0.25)
    assert closed_set(trials, list(protocol.folds(trials))) == 8


@pytest.fixture
def copied(tmp_path):
    """Of 11 test pictures one is a file of the training, one its pixels, one a near-duplicate, and one has its name."""
    rows, images = [], {}
    for i in range(10):
        for part in ("train", "test"):
            name = f"{part}{i}"
            images[name] = str(tmp_path / f"{name}.png")
            noise(i + 100 * (part == "test")).save(images[name])
            rows.append(("1", "1", "1", name, part))
    images["test0"] = images["train0"]
    noise(1).save(images["test1"], compress_level=1)
    ImageOps.mirror(noise(2)).save(images["test2"])
    noise(103).save(tmp_path / "own.png")
    rows.append(("1", "1", "1", "train3", "test"))
    return study(rows, images)


def test_each_identity_is_counted_under_its_name(copied):
    (fold,) = Protocol(val_fraction=0).folds(copied)
    counts = overlaps(copied, fold)
    assert [counts[unit] for unit in ("stimulus", *KINDS)] == [1, 2, 3, 4]  # each includes those before it
    found = shared_pictures(copied, [fold])
    assert found.by == {"stimulus": 1, "bytes": 1, "pixels": 1, "near_duplicate": 1}
    assert (found.total, found.n, found.closed) == (4, 11, 0)
    assert found.said() == (
        "test pictures were trained on: 1 by name; under another name 1 the same file, 1 the same pixels in another "
        "file, 1 near-duplicates (compressed again, resized, cropped or mirrored)"
    )
    table = overlap_table(Protocol(val_fraction=0), copied).set_index("unit")
    assert table["shared"][list(KINDS)].tolist() == [
        "test0=train0, train3",
        "test0=train0, test1=train1, train3",
        "test0=train0, test1=train1, test2=train2, train3",
    ]
    assert table.loc["near_duplicate", ["a_trials", "b_trials"]].tolist() == [4, 4]


def test_copies_within_training_are_no_fault(tmp_path):
    images = {name: str(tmp_path / f"{name}.png") for name in "abc"}
    for name, picture in zip("abc", (noise(0), ImageOps.mirror(noise(0)), noise(1)), strict=True):
        picture.save(images[name])
    trials = study([("1", "1", "1", "a", "train"), ("1", "1", "1", "b", "train"), ("1", "1", "1", "c", "test")], images)
    found = shared_pictures(trials, list(Protocol(val_fraction=0).folds(trials)))
    assert (found.total, found.said()) == (0, "no")


def test_a_whole_set_under_other_names_is_no_closed_set(tmp_path):
    images, rows = {}, []
    for i in range(3):
        for part in ("train", "test"):
            images[f"{part}{i}"] = str(tmp_path / f"{part}{i}.png")
            noise(i).save(images[f"{part}{i}"])
            rows.append(("1", "1", part, f"{part}{i}", part))
    found = shared_pictures(study(rows, images), list(Protocol(val_fraction=0).folds(study(rows, images))))
    assert (found.closed, found.total) == (0, 3)


def test_a_promise_that_a_copy_breaks_is_told(tmp_path):
    images = {f"p{i}": str(tmp_path / f"p{i}.png") for i in range(4)}
    for i in range(4):
        (noise(0) if i < 2 else noise(i)).save(images[f"p{i}"], format="bmp" if i == 1 else "png")
    trials = study([("1", "1", "1", f"p{i}", "train" if i < 3 else "test") for i in range(4)], images)
    drawn = [Protocol(val_by=by, val_fraction=0.34, seed=seed) for by in ("stimulus", "concept") for seed in range(4)]
    tables = [overlap_table(protocol, trials) for protocol in drawn]
    broken = pd.concat([t[t["broken"]] for t in tables])
    assert set(broken["unit"]) == {"pixels", "near_duplicate"}
    assert set(broken["shared"]) <= {"p0=p1", "p1=p0"}
