"""The drawn world: same scene, same pixels; captions and masks tell the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phosphene.captions import SLOTS
from phosphene.simulate.drawings import KINDS, LIGHTS
from phosphene.simulate.scenes import (
    BACKGROUNDS,
    COLOURS,
    COMPANIONS,
    OBJECTS,
    PATTERNS,
    POSITIONS,
    SEEN,
    UNSEEN,
    Scene,
    draw,
    draw_with_mask,
    is_held_out,
    sample_scenes,
)


def test_the_world_has_its_size():
    assert (len(OBJECTS), len(COLOURS), len(BACKGROUNDS), len(POSITIONS)) == (52, 10, 8, 3)
    assert (len(LIGHTS), len(PATTERNS), len(COMPANIONS)) == (4, 3, 81)
    assert len(SEEN) == 48
    assert set(UNSEEN) == set(OBJECTS) - set(SEEN)
    assert set(KINDS) == set(OBJECTS)


def test_captions_are_exact():
    scene = Scene("car", "red", "snow", "left")
    assert scene.concept == "red car"
    assert scene.prompt == "a red car on the left, in the snow, by day"
    assert scene.captions == {
        "ObjectSnap": "a red car",
        "KindName": "a vehicle",
        "ColourNote": "something red",
        "SurfaceNote": "a smooth thing of a single colour",
        "SpatialLink": "a red car on the left",
        "LayoutPlan": "a large thing on the left, the right is empty",
        "PlaceView": "in the snow, snowy ground in front and fir trees behind",
        "ThemeTag": "a bright day in winter",
        "LightHour": "bright light from a clear sky",
        "MoodWord": "a cheerful and cold mood",
    }


def test_captions_tell_light_pattern_and_companion():
    scene = Scene("umbrella", "orange", "room", "centre", 0, "night", "striped", "blue bird")
    assert scene.prompt == "a striped orange umbrella in the centre, below a small blue bird, in a room, at night"
    assert scene.captions["ColourNote"] == "something orange and something blue"
    assert scene.captions["SurfaceNote"] == "a thing covered with stripes"
    assert scene.captions["LayoutPlan"] == "a large thing in the centre and a small thing in the upper right"
    assert scene.captions["ThemeTag"] == "a quiet night at home"
    beside = Scene("umbrella", "orange", "room", "right", companion="red ball")
    assert beside.captions["SpatialLink"] == "an orange umbrella on the right, beside a small red ball"
    assert beside.captions["LayoutPlan"] == "a large thing on the right and a small thing in the lower left"


def test_every_slot_has_its_caption_within_the_length_of_clip():
    for scene in sample_scenes(300, seed=3, objects=OBJECTS):
        assert list(scene.captions) == [slot.name for slot in SLOTS]
        assert max(len(text.split()) for text in (*scene.captions.values(), scene.prompt)) < 40


def test_scenes_that_differ_in_one_thing_differ_in_their_prompt_and_picture():
    scene = Scene("dog", "blue", "meadow", "left", 4, "day", "plain", "none")
    others = [
        replace(scene, light="fog"),
        replace(scene, pattern="spotted"),
        replace(scene, companion="red star"),
        replace(scene, companion="red apple"),
    ]
    assert len({s.prompt for s in (scene, *others)}) == 5
    mine = np.asarray(draw(scene), int)
    assert all(np.abs(np.asarray(draw(other), int) - mine).mean() > 0.5 for other in others)
    # the companion changes nothing where it is not
    left = np.abs(np.asarray(draw(others[3]), int) - mine)[:, :64]
    assert left.mean() < 0.5


def test_the_companion_stands_where_its_caption_says():
    for position, side in (("left", slice(64, 128)), ("centre", slice(64, 128)), ("right", slice(0, 64))):
        for companion, half in (("green star", slice(0, 64)), ("green ball", slice(64, 128))):
            alone = Scene("clock", "red", "city", position, seed=2)
            scene = Scene("clock", "red", "city", position, seed=2, companion=companion)
            changed = np.abs(np.asarray(draw(scene), int) - np.asarray(draw(alone), int)).sum(-1) > 60
            assert changed[half, side].sum() > 0.95 * changed.sum() > 0
            own, both = draw_with_mask(scene)[1], draw_with_mask(scene, companion=True)[1]
            assert both.sum() > own.sum()
            assert not (own & ~both).any()


def test_the_same_scene_gives_the_same_pixels_and_another_seed_others():
    scene = Scene("cat", "black", "desert", "right", seed=3)
    assert np.array_equal(draw(scene), draw(Scene("cat", "black", "desert", "right", seed=3)))
    assert not np.array_equal(draw(scene), draw(Scene("cat", "black", "desert", "right", seed=4)))


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("name", OBJECTS)
def test_the_mask_lies_where_the_position_says(name: str, size: int):
    centres = []
    for position in POSITIONS:
        image, mask = draw_with_mask(Scene(name, "blue", "beach", position, seed=1), size)
        assert image.size == (size, size)
        assert mask.shape == (size, size)
        assert mask.dtype == bool
        assert 0.06 < mask.mean() < 0.4
        centres.append(np.nonzero(mask)[1].mean() / size)
    assert centres[0] < 0.42 < centres[1] < 0.58 < centres[2]


def test_the_object_has_its_colour():
    picture, mask = draw_with_mask(Scene("star", "red", "room", "centre"), 64)
    red, green, blue = np.asarray(picture)[mask].mean(axis=0)
    assert red > 150
    assert max(green, blue) < 120


def test_the_drawing_is_free_of_scale():
    scene = Scene("house", "green", "forest", "right", seed=5)
    small = np.asarray(draw(scene, 64), dtype=float)
    large = np.asarray(draw(scene, 128).resize((64, 64), 4), dtype=float)
    assert np.abs(small - large).mean() < 2.0


def test_about_one_combination_in_ten_is_held_out():
    every = {scene.combination for scene in sample_scenes(11_520, seed=0)}
    held = {scene.combination for scene in sample_scenes(2000, seed=0, held_out=True)}
    assert len(every) == 11_520
    assert 0.09 < len(held) / len(every) < 0.11
    assert all(is_held_out(Scene(name, "red", "snow", "left")) for name in UNSEEN)
    assert all(is_held_out(Scene(*combination)) for combination in held)
    assert not any(is_held_out(scene) for scene in sample_scenes(500, seed=1, held_out=False))


def test_sampling_is_repeatable_and_of_any_length():
    assert sample_scenes(40, seed=7) == sample_scenes(40, seed=7)
    assert sample_scenes(40, seed=7) != sample_scenes(40, seed=8)
    assert sample_scenes(0, seed=7) == []
    assert len(sample_scenes(3000, seed=7)) == 3000


@pytest.mark.parametrize(
    ("field", "value", "near"),
    [
        ("object", "carr", "car"),
        ("colour", "gren", "green"),
        ("background", "snowy", "snow"),
        ("position", "center", "centre"),
        ("light", "nigth", "night"),
        ("pattern", "stripes", "striped"),
        ("companion", "bleu ball", "blue ball"),
    ],
)
def test_an_unknown_value_names_the_nearest(field: str, value: str, near: str):
    fields = {"object": "cat", "colour": "red", "background": "room", "position": "left", field: value}
    with pytest.raises(ValueError, match=f"{field} '{value}'.*'{near}'"):
        Scene(**fields)


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="give 0 or more"):
        Scene("cat", "red", "room", "left", seed=-1)
