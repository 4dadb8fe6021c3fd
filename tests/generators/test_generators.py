import json
from hashlib import sha256

import numpy as np
import pytest
import torch
from PIL import Image

from phosphene.backbones.table import fits, load_tokenizer, n_tokens
from phosphene.errors import PhospheneError
from phosphene.generators import prompts as wording
from phosphene.generators.base import Conditioning, blended, noise_generator
from phosphene.generators.diffusion import Diffusion
from phosphene.generators.nearest import Nearest
from phosphene.simulate.judge import load_judge
from phosphene.simulate.scenes import Scene, draw
from phosphene.targets.clip import CLIPImage

SCENES = [
    Scene("car", "red", "snow", "left"),
    Scene("fish", "blue", "forest", "right"),
    Scene("cup", "yellow", "room", "centre"),
    Scene("tree", "green", "desert", "left"),
]


@pytest.fixture(scope="module")
def mini():
    return Diffusion("mini", batch_size=4)


@pytest.fixture(scope="module")
def quick(mini):
    generator = Diffusion("mini", steps=3, batch_size=4)
    generator.pipeline = mini.pipeline
    return generator


@pytest.fixture(scope="module")
def embeds():
    return CLIPImage("mini").images([draw(s) for s in SCENES])


def pixels(pictures):
    return np.stack([np.asarray(p, float) for p in pictures])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "nothing to draw from"),
        ({"prompt": ["a"], "image_embeds": torch.zeros(2, 3)}, "different numbers of trials"),
        ({"prompt": ["a"], "tokens": torch.zeros(1, 2, 3)}, "give one"),
        ({"prompt": ["a"], "negative_tokens": torch.zeros(1, 2, 3)}, "negative_tokens belong to tokens"),
        ({"tokens": torch.zeros(1, 2, 3), "negative_tokens": torch.zeros(1, 4, 3)}, "same n_tokens and dim"),
        ({"tokens": torch.zeros(1, 2, 3), "negative_tokens": torch.zeros(2, 2, 3)}, "different numbers of trials"),
        ({"prompt": ["a"], "strength": 0.5}, "belong together"),
        ({"init": [Image.new("RGB", (8, 8))], "strength": 1.5}, "above 0 and up to 1"),
        ({"prompt": "a dog"}, r"give one for each trial, such as \['a dog'\]"),
        ({"prompt": ["a", []]}, "not a caption: give a string, or pairs"),
        ({"prompt": [("a dog", 1.0)]}, "not a caption"),
        ({"prompt": [["a dog", "a cat"]]}, "not a caption"),
        ({"prompt": [[(1.0, "a dog")]]}, "not a caption"),
        ({"prompt": [None]}, "not a caption"),
        ({"prompt": [[("a dog", 0.5), ("a cat", 0.0)]]}, "weight of caption 'a cat' is 0.0: give a number above 0"),
        ({"prompt": [[("a dog", -1)]]}, "give a number above 0"),
        ({"prompt": [[("a dog", float("nan"))]]}, "give a number above 0"),
        ({"prompt": [[("a dog", float("inf"))]]}, "give a number above 0"),
        ({"prompt": [[("a dog", "much")]]}, "give a number above 0"),
    ],
)
def test_a_conditioning_that_makes_no_sense_is_refused(fields, message):
    with pytest.raises(PhospheneError, match=message):
        Conditioning(**fields)


def test_rows_keep_fields_together():
    c = Conditioning(prompt=["a", "b", "c"], image_embeds=torch.arange(6.0).reshape(3, 2))
    part = c.rows([2, 0, 2])
    assert part.prompt == ["c", "a", "c"]
    assert part.image_embeds[:, 0].tolist() == [4.0, 0.0, 4.0]
    assert len(part) == 3


def test_negative_tokens_are_of_all_trials_or_of_each():
    tokens = torch.randn(3, 4, 5)
    shared = Conditioning(tokens=tokens, negative_tokens=torch.arange(20.0).reshape(4, 5))
    assert shared.negative_tokens.shape == tokens.shape
    assert len(shared) == 3
    each = Conditioning(tokens=tokens, negative_tokens=-tokens)
    part = each.rows([2, 2, 0])
    torch.testing.assert_close(part.negative_tokens, -part.tokens, rtol=0, atol=0)
    for given, kept in ((shared, (4, 5)), (each, (3, 4, 5)), (shared.rows([1, 0]), (4, 5)), (each.rows([1]), (4, 5))):
        tensors, words = given.packed()
        assert tensors["negative_tokens"].shape == kept
        assert tensors["negative_tokens"].is_contiguous()
        again = Conditioning.unpacked(tensors, words)
        assert torch.equal(again.negative_tokens, given.negative_tokens)
        assert torch.equal(again.tokens, given.tokens)


def test_guidance_leads_away_from_negative_tokens(quick):
    tokens, other = torch.randn(2, 2, 77, 128, generator=torch.Generator().manual_seed(0))

    def drawn(**fields):
        return pixels(row[0] for row in quick(Conditioning(tokens=tokens, **fields)))

    plain = drawn()
    assert np.abs(drawn(negative_tokens=torch.zeros(77, 128)) - plain).max() <= 2
    assert np.abs(drawn(negative_tokens=other) - plain).max() > 20
    swapped = drawn(negative_tokens=other.flip(0))  # of each trial its own
    assert np.abs(swapped[0] - drawn(negative_tokens=other[1])[0]).max() <= 2
    assert np.abs(swapped[1] - drawn(negative_tokens=other[0])[1]).max() <= 2


def test_a_picture_of_nan_is_not_drawn_black(quick):
    with pytest.raises(PhospheneError, match="the picture drawn of trial 7 holds NaN or infinity"):
        quick(Conditioning(tokens=torch.full((1, 77, 128), 3e38)), numbers=[7])


def test_weights_are_normalised_and_rows_keep_blends():
    assert blended("a dog") == [("a dog", 1.0)]
    assert blended([["a dog", 3], ["a cat", np.float32(1)]]) == [("a dog", 0.75), ("a cat", 0.25)]
    mixed = Conditioning(prompt=["a bird", [("a dog", 3), ("a cat", 1)]])
    assert mixed.rows([1, 0, 1]).prompt == [[("a dog", 3), ("a cat", 1)], "a bird", [("a dog", 3), ("a cat", 1)]]
    assert len(mixed) == 2


def test_noise_depends_on_seed_trial_and_sample_alone():
    def draw_noise(*key):
        return torch.randn(4, generator=noise_generator(*key))

    assert torch.equal(draw_noise(0, 1, 2), draw_noise(0, 1, 2))
    assert len({tuple(draw_noise(*k).tolist()) for k in [(0, 1, 2), (1, 0, 2), (0, 2, 1), (2, 1, 0)]}) == 4


def test_prompts_draw_what_they_say(mini):
    (pictures,) = zip(*mini(Conditioning(prompt=[s.prompt for s in SCENES])), strict=True)
    judged = load_judge().predict(list(pictures))
    assert sum(a == s.object for a, s in zip(judged["object"], SCENES, strict=True)) >= 3
    assert sum(a == s.background for a, s in zip(judged["background"], SCENES, strict=True)) >= 3


def test_embeddings_draw_their_picture_and_batching_changes_nothing(mini, embeds):
    whole = mini(Conditioning(image_embeds=embeds), n=2, seed=3)
    assert [len(row) for row in whole] == [2] * 4
    judged = load_judge().predict([row[0] for row in whole])
    assert sum(a == s.background for a, s in zip(judged["background"], SCENES, strict=True)) >= 3
    later = mini(Conditioning(image_embeds=embeds[2:]), n=2, seed=3, numbers=[2, 3])
    assert np.abs(pixels(later[0]) - pixels(whole[2])).max() <= 2  # float rounding of another batch size
    assert np.abs(pixels(whole[2])[0] - pixels(whole[2])[1]).max() > 20  # two samples differ


def test_tokens_are_what_a_prompt_becomes(mini):
    pipe = mini.pipeline
    prompt = SCENES[0].prompt
    tokens, _ = pipe.encode_prompt([prompt], "cpu", 1, False)
    empty, _ = pipe.encode_prompt([""], "cpu", 1, False)
    plain = Diffusion("mini", guidance=1.0)
    plain.pipeline = pipe
    a = plain(Conditioning(prompt=[prompt]))
    b = plain(Conditioning(tokens=tokens))
    assert np.abs(pixels(a[0]) - pixels(b[0])).max() <= 2
    assert np.abs(pixels(plain(Conditioning(tokens=empty))[0]) - pixels(a[0])).max() > 20


def test_a_weak_start_keeps_the_first_picture(mini):
    start = draw(SCENES[0])
    ((weak,),) = (mini(Conditioning(prompt=[SCENES[0].prompt], init=[start], strength=0.2)),)
    ((strong,),) = (mini(Conditioning(prompt=[SCENES[1].prompt], init=[start], strength=1.0)),)
    first = pixels([start])[0]
    assert np.abs(pixels(weak)[0] - first).mean() < 0.5 * np.abs(pixels(strong)[0] - first).mean()


def test_a_blend_of_one_caption_is_that_caption(quick):
    plain = pixels(s[0] for s in quick(Conditioning(prompt=[s.prompt for s in SCENES[:2]])))
    alone = [[(SCENES[0].prompt, 0.3)], [(SCENES[1].prompt, 7), (SCENES[1].prompt, 1)]]
    assert np.abs(pixels(s[0] for s in quick(Conditioning(prompt=alone))) - plain).max() <= 2
    both = [[(SCENES[0].prompt, 1), (SCENES[1].prompt, 1)], SCENES[1].prompt]
    drawn = pixels(s[0] for s in quick(Conditioning(prompt=both)))
    assert np.abs(drawn[0] - plain[0]).max() > 20
    assert np.abs(drawn[1] - plain[1]).max() <= 2


def test_a_blend_lies_between_its_captions(mini):
    car, fish = SCENES[0].prompt, SCENES[1].prompt

    def drawn(share):
        prompt = car if share == 1 else fish if share == 0 else [(car, share), (fish, 1 - share)]
        return pixels(mini(Conditioning(prompt=[prompt]))[0])[0]

    first, last = drawn(1), drawn(0)
    assert np.abs(drawn(0.95) - first).mean() < 0.5 * np.abs(drawn(0.95) - last).mean()
    assert np.abs(drawn(0.05) - last).mean() < 0.5 * np.abs(drawn(0.05) - first).mean()


def test_a_caption_is_encoded_once_in_a_call(quick, monkeypatch):
    read = []
    encode = quick.pipeline.encode_prompt

    def noted(prompt=None, *rest, **more):
        read.append(prompt)
        return encode(prompt, *rest, **more)

    monkeypatch.setattr(quick.pipeline, "encode_prompt", noted)
    one = Diffusion("mini", steps=2, batch_size=1)
    one.pipeline = quick.pipeline
    a, b, c = (s.prompt for s in SCENES[:3])
    one(Conditioning(prompt=[[(a, 1), (b, 2)], [(b, 1), (c, 2)], a]), n=2)
    asked = [caption for part in read if part is not None for caption in part]
    assert sorted(asked) == sorted([a, b, c, a, a])  # the last trial's plain caption is the pipeline's own to encode


def test_few_captions_are_kept(quick, monkeypatch):
    monkeypatch.setattr(wording, "KEPT", 2)
    words = wording.Wording(quick.pipeline, True, batch_size=2)
    captions = [s.prompt for s in SCENES]
    together = words.arguments([[(caption, 1) for caption in captions]])
    assert list(words._known) == captions[2:]
    singly = [words.arguments([caption])["prompt_embeds"] for caption in captions]
    torch.testing.assert_close(together["prompt_embeds"], torch.stack(singly).mean(0))
    assert together["negative_prompt_embeds"].shape == together["prompt_embeds"].shape == (1, 77, 128)


def test_captions_that_are_cut_are_known(quick, caplog):
    long = "a red car and a blue fish, " * 12
    assert quick.fits("a red car")
    assert not quick.fits(long)
    assert not quick.fits([("a red car", 1), (long, 1)])
    assert fits("a red car", "mini")
    assert not fits(long, "mini")
    tokenizer = load_tokenizer("mini")
    assert n_tokens("", tokenizer) == 2
    at_most = " ".join(["car"] * 75)
    assert n_tokens(at_most, tokenizer) == 77
    assert fits(at_most, "mini")
    assert quick.fits(at_most)
    assert not fits(at_most + " car", "mini")
    with pytest.raises(PhospheneError, match="'git-large-coco' reads no captions"):
        fits("a red car", "git-large-coco")
    for _ in range(2):  # told once
        quick(Conditioning(prompt=[[("a red car", 1), (long, 1)], f"{long} and a cup", long]))
    assert [r.getMessage() for r in caplog.records if r.name.startswith("phosphene")] == [
        "prompts: 2 of 3 distinct captions are longer than the 77 tokens that the text encoder reads and are cut; 2 "
        f"become alike by it; the first: {long[:60].strip()}"
    ]


def checksums(parts):
    return {
        f"{part}.{key}": sha256(value.detach().contiguous().numpy().tobytes()).hexdigest()
        for part, module in parts.items()
        for key, value in module.state_dict().items()
    }


def test_no_weight_of_the_generator_changes(embeds):
    generator = Diffusion("mini", steps=2)
    pipe = generator.pipeline
    parts = {key: part for key, part in pipe.components.items() if isinstance(part, torch.nn.Module)}
    assert set(parts) == {"vae", "text_encoder", "unet", "image_encoder"}
    before = checksums(parts)
    prompt, start = [SCENES[0].prompt], {"init": [draw(SCENES[1])], "strength": 0.9}
    blend = [[(SCENES[0].prompt, 2), (SCENES[1].prompt, 1)]]
    tokens = torch.randn(1, 77, 128, requires_grad=True)
    decoded = embeds[:1].clone().requires_grad_()
    adapter = {}
    for fields in (
        {"prompt": prompt},
        {"prompt": blend},
        {"tokens": tokens},
        {"prompt": prompt, **start},
        {"prompt": blend, **start},
        {"image_embeds": decoded},
        {"image_embeds": decoded, "prompt": blend, **start},
        {"image_embeds": decoded, "tokens": tokens},
        {"prompt": prompt},
    ):
        generator(Conditioning(**fields))
        after = checksums(parts)
        assert {key: after[key] for key in before} == before
        added = {key: value for key, value in after.items() if key not in before}
        assert bool(added) == ("image_embeds" in fields)
        adapter = adapter or added
        assert added in ({}, adapter)
        for module in parts.values():
            assert not any(p.requires_grad or p.grad is not None for p in module.parameters())
            assert not any(m.training for m in module.modules())
    assert tokens.grad is None
    assert decoded.grad is None


def test_nearest_returns_known_pictures_in_order(tmp_path, embeds):
    paths = []
    for i, scene in enumerate(SCENES):
        draw(scene).save(tmp_path / f"{i}.png")
        paths.append(str(tmp_path / f"{i}.png"))
    drawn = Nearest(paths, embeds)(Conditioning(image_embeds=embeds[[3, 1]]), n=2)
    np.testing.assert_array_equal(pixels(drawn[0])[0], pixels([draw(SCENES[3])])[0])
    np.testing.assert_array_equal(pixels(drawn[1])[0], pixels([draw(SCENES[1])])[0])
    with pytest.raises(PhospheneError, match="cannot use 'prompt'"):
        Nearest(paths, embeds)(Conditioning(prompt=["a"], image_embeds=embeds[:1]))


def test_unknown_backbone_gives_the_nearest():
    with pytest.raises(PhospheneError, match="did you mean 'mini'"):
        Diffusion("minni")
    with pytest.raises(PhospheneError, match="unknown diffusion backbone 'clip-vit-l14'"):
        Diffusion("clip-vit-l14")


def test_a_conditioning_is_kept_and_read_again():
    pictures = [Image.fromarray(np.full((4, 6, 3), v, np.uint8)) for v in (10, 200)]
    given = Conditioning(
        prompt=["a dog", [("a cat", 1.0), ("a car", 2.0)]], image_embeds=torch.randn(2, 3), init=pictures, strength=0.5
    )
    tensors, words = given.packed()
    assert tensors["init"].shape == (2, 4, 6, 3)
    again = Conditioning.unpacked(tensors, json.loads(json.dumps(words)))
    assert again.given() == given.given()
    assert [list(p.getdata()) for p in again.init] == [list(p.getdata()) for p in pictures]
    assert (again.strength, again.prompt[0]) == (0.5, "a dog")
    assert [tuple(pair) for pair in again.prompt[1]] == given.prompt[1]
    torch.testing.assert_close(again.image_embeds, given.image_embeds)
