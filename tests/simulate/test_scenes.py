"""The drawn world: same scene, same pixels; captions and masks tell the truth."""

from __future__ import annotations

import numpy as np
import pytest

from phosphene.simulate.scenes import (
    BACKGROUNDS,
    COLOURS,
    OBJECTS,
    POSITIONS,
    Scene,
    draw,
    draw_with_mask,
    is_held_out,
    sample_scenes,
)


def test_the_world_has_its_size():
    assert (len(OBJECTS), len(COLOURS), len(BACKGROUNDS), len(POSITIONS)) == (16, 10, 6, 3)


def test_captions_are_exact():
    scene = Scene("car", "red", "snow", "left")
    assert scene.concept == "red car"
    assert scene.prompt == "a red car on the left, in the snow"
    assert scene.captions == {
        "ObjectSnap": "a red car",
        "SpatialLink": "a red car on the left",
        "ThemeTag": "a cold winter day",
    }
    assert Scene("umbrella", "orange", "night", "centre").prompt == "an orange umbrella in the centre, at night"


def test_the_same_scene_gives_the_same_pixels_and_another_seed_others():
    scene = Scene("cat", "black", "night", "right", seed=3)
    assert np.array_equal(draw(scene), draw(Scene("cat", "black", "night", "right", seed=3)))
    assert not np.array_equal(draw(scene), draw(Scene("cat", "black", "night", "right", seed=4)))


@pytest.mark.parametrize("size", [64, 96])
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
    every = {scene.combination for scene in sample_scenes(2880, seed=0)}
    held = {scene.combination for scene in sample_scenes(2880, seed=0, held_out=True)}
    assert len(every) == 2880
    assert 0.08 < len(held) / len(every) < 0.12
    assert all(is_held_out(Scene(*combination)) for combination in held)
    assert not any(is_held_out(scene) for scene in sample_scenes(500, seed=1, held_out=False))


def test_sampling_is_repeatable_and_of_any_length():
    assert sample_scenes(40, seed=7) == sample_scenes(40, seed=7)
    assert sample_scenes(40, seed=7) != sample_scenes(40, seed=8)
    assert sample_scenes(0, seed=7) == []
    assert len(sample_scenes(3000, seed=7)) == 3000


@pytest.mark.parametrize(
    ("field", "value", "near"),
    [("object", "carr", "car"), ("colour", "gren", "green"), ("background", "snowy", "snow"),
     ("position", "center", "centre")],
)  # fmt: skip
def test_an_unknown_value_names_the_nearest(field: str, value: str, near: str):
    fields = {"object": "cat", "colour": "red", "background": "room", "position": "left", field: value}
    with pytest.raises(ValueError, match=f"{field} '{value}'.*'{near}'"):
        Scene(**fields)


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="give 0 or more"):
        Scene("cat", "red", "room", "left", seed=-1)
