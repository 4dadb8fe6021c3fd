"""Slots as data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phosphene.backbones.table import load_clip
from phosphene.captions import CLIP_TOKENS, NAMED, SLOTS, choose, clean, read_slots
from phosphene.captions.base import LONGEST
from phosphene.captions.tokens import counter, estimate
from phosphene.errors import PhospheneError
from phosphene.simulate.scenes import Scene, sample_scenes

ROW = "- name: {}\n  level: object\n  prompt: Say it.\n"


def test_the_ten_slots():
    assert len({slot.name for slot in SLOTS}) == 10
    assert [slot.name for slot in NAMED] == ["ObjectSnap", "SpatialLink", "ThemeTag"]  # the names of arXiv 2507.07157
    assert [slot.level for slot in NAMED] == ["object", "spatial", "thematic"]
    assert all(slot.prompt and slot.max_tokens <= CLIP_TOKENS for slot in SLOTS)
    assert [slot.name for slot in SLOTS] == list(Scene("car", "red", "snow", "left").captions)


def test_a_prompt_is_part_of_the_checksum():
    slot = SLOTS[0]
    assert slot.checksum != slot._replace(prompt="Say something else.").checksum
    assert slot.checksum != slot._replace(max_tokens=20).checksum
    assert slot.checksum == slot._replace().checksum


def test_slots_of_ones_own(tmp_path):
    file = tmp_path / "slots.yaml"
    file.write_text(ROW.format("Texture") + "  max_tokens: 20\n" + ROW.format("Sound") + "  about: scene\n")
    own = read_slots(file)
    assert [(s.name, s.max_tokens, s.about, s.ours) for s in own] == [
        ("Texture", 20, "object", True),
        ("Sound", 77, "scene", True),
    ]
    assert choose(own, ["Sound"]) == own[1:]
    assert choose(own, []) == own
    with pytest.raises(PhospheneError, match="did you mean 'Sound'"):
        choose(own, ["sounds"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ROW.format("A") * 2, "twice"),
        (ROW.format("image"), "rename it"),
        (ROW.format("A b"), "name"),
        (ROW.format("A").replace("object", "objekt"), "did you mean 'object'"),
        (ROW.format("A") + "  max_tokens: 78\n", "max_tokens"),
        (ROW.format("A") + "  promt: x\n", "promt"),
        ("[]", "no slot"),
        ("name: A", "list"),
        ("- [", "YAML"),
    ],
)
def test_wrong_slots_are_one_line(tmp_path, text, message):
    file = tmp_path / "slots.yaml"
    file.write_text(text)
    with pytest.raises(PhospheneError, match=message):
        read_slots(file)
    with pytest.raises(PhospheneError, match="does not exist"):
        read_slots(tmp_path / "none.yaml")


@given(st.text())
def test_any_answer_becomes_one_plain_line(answer):
    text = clean(answer)
    assert text.isprintable()
    assert len(text) <= LONGEST
    assert text == text.strip()
    assert not text.startswith(("=", "+", "-", "@"))


def test_what_is_left_of_an_answer():
    assert clean('\x1b[31m "a red\x00\n  car"\u202e ') == '[31m "a red car"'
    assert clean('"a red car"') == "a red car"
    assert clean("- =HYPERLINK(1)") == "HYPERLINK(1)"
    assert clean("x" * 10_000) == "x" * LONGEST
    with pytest.raises(PhospheneError, match="not text"):
        clean(["a red car"])


def test_tokens_are_counted_by_the_tokenizer_or_from_above():
    count = counter(load_clip("mini")[2])
    captions = {caption for scene in sample_scenes(60, seed=0) for caption in scene.captions.values()}
    assert count("a red car") == 5
    assert [c for c in captions if count(c) > estimate(c)] == []
    assert estimate("a red car, 12") == 2 + 1 + 1 + 1 + 1 + 2
    assert estimate("é") == 4
    assert counter() is estimate
