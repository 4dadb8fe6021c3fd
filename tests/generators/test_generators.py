import numpy as np
import pytest
import torch
from PIL import Image

from phosphene.errors import PhospheneError
from phosphene.generators.base import Conditioning, noise_generator
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
        ({"prompt": ["a"], "strength": 0.5}, "belong together"),
        ({"init": [Image.new("RGB", (8, 8))], "strength": 1.5}, "above 0 and up to 1"),
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


def test_no_weight_of_the_generator_changes(mini, embeds):
    mini._adapter(True)
    before = {k: v.clone() for k, v in mini.pipeline.unet.state_dict().items()}
    mini(Conditioning(image_embeds=embeds[:1]))
    assert all(torch.equal(before[k], v) for k, v in mini.pipeline.unet.state_dict().items())


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
