"""Visual tokens: the adapter against its golden vector, and stock GIT of random weights that writes from them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from backbones.published import WORDS, processor, small_git, tokenizer
from conftest import ROUNDING, golden, off
from golden import fill
from phosphene.captions.git import TokenCaptioner, drift
from phosphene.errors import PhospheneError
from phosphene.networks.caption_adapter import RidgeTokens, VisualTokens
from phosphene.priors.ridge import RidgePrior


def captioner(frames=None, **options):
    return TokenCaptioner(small_git(frames), processor(), tokenizer(), **options)


def pictures(n=5):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (28, 28, 3), dtype=np.uint8)) for _ in range(n)]


def plain(rows):
    return [[i for i in row if i not in (0, 2, 3)] for row in rows.tolist()]


# ---------------------------------------------------------------- predicting tokens


def test_the_adapter_gives_the_golden_tokens():
    facts, expected = golden("git_adapter")
    adapter = VisualTokens()
    assert sum(p.numel() for p in adapter.parameters()) == facts["parameters"]
    assert {key: tuple(value.shape) for key, value in adapter.state_dict().items()} == {
        "1.weight": (257, 1),
        "1.bias": (257,),
        "2.weight": (257,),
        "2.bias": (257,),
        "4.weight": (1024, 1024),
        "4.bias": (1024,),
        "5.weight": (1024,),
        "5.bias": (1024,),
    }
    fill.load(adapter, facts["weight_seed"]).double()
    x = torch.from_numpy(fill.inputs(facts["inputs"]["x"]["shape"], facts["inputs"]["x"]["seed"])).double()
    with torch.inference_mode():
        got = adapter(x)
        assert torch.equal(adapter(x[:, 0]), got)
    output = facts["outputs"]["tokens"]
    assert list(got.shape) == output["shape"]
    rms = output["l2"] / np.sqrt(np.prod(output["shape"]))
    assert off(torch.from_numpy(fill.subsample(got.numpy())[0]), expected["tokens"], rms) <= ROUNDING


@pytest.mark.parametrize("made", [VisualTokens, RidgeTokens])
def test_sizes_are_arguments(made):
    generator = torch.Generator().manual_seed(0)
    fitted = made(6, 4, 3).fit(torch.randn(5, 6, generator=generator), torch.randn(5, 4, 3, generator=generator))
    assert fitted(torch.zeros(2, 6)).shape == fitted(torch.zeros(2, 1, 6)).shape == (2, 4, 3)
    for wrong in ((2, 7), (2, 2, 6), (6,), (2, 1, 1, 6)):
        with pytest.raises(PhospheneError, match=r"from \(batch, 6\) and not from \(.*or set n_inputs"):
            fitted(torch.zeros(wrong))


def test_ridge_has_no_weights_before_it_is_solved():
    solved, embeds, _ = learned(RidgeTokens)
    empty = RidgeTokens(8, 5, 6)
    assert empty.weight.numel() == 0
    assert solved.weight.shape == (8, 30)
    with pytest.raises(PhospheneError, match=r"not learned: call fit\(embeds, tokens\) first"):
        empty(embeds)
    nothing = RidgeTokens(8, 5, 6).state_dict()
    empty.load_state_dict(solved.state_dict())
    assert torch.equal(empty(embeds), solved(embeds))
    empty.load_state_dict(nothing)
    assert empty.weight.shape == (0, 30)
    with pytest.raises(RuntimeError, match="size mismatch"):
        empty.load_state_dict(RidgeTokens(8, 5, 7).state_dict())


def learned(made=VisualTokens, **options):
    torch.manual_seed(0)
    teacher, pupil = VisualTokens(8, 5, 6), made(8, 5, 6)
    with torch.inference_mode():  # as targets are made
        embeds = torch.randn(80, 8, generator=torch.Generator().manual_seed(1))
        tokens = teacher(embeds)
    return pupil.fit(embeds, options.pop("as_", lambda t: t)(tokens), **options), embeds, tokens


def test_training_approaches_tokens_that_can_be_reached():
    pupil, embeds, tokens = learned(epochs=60, batch_size=8, lr=3e-2, weight_decay=0.0)
    assert len(pupil.losses_) == 60
    assert embeds.is_inference()
    best_constant = float(tokens.var(0).mean())
    assert pupil.losses_[-1] < 0.3 * best_constant < pupil.losses_[0]
    assert float((pupil(embeds) - tokens).detach().square().mean()) < 0.3 * best_constant


def test_training_depends_on_its_seed_alone():
    one, two, other = (learned(epochs=2, seed=seed)[0].losses_ for seed in (0, 0, 1))
    assert one == two != other


def test_tokens_may_be_an_array_of_half_precision(tmp_path):
    def mapped(tokens):
        np.save(tmp_path / "tokens.npy", tokens.numpy().astype(np.float16))
        return np.load(tmp_path / "tokens.npy", mmap_mode="r")

    assert learned(epochs=3, as_=mapped)[0].losses_ == pytest.approx(learned(epochs=3)[0].losses_, rel=1e-3)
    torch.testing.assert_close(
        learned(RidgeTokens, as_=mapped)[0].weight, learned(RidgeTokens)[0].weight, atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("batch_size", [1, 7, 256])
@pytest.mark.parametrize("far", [0.0, 100.0])
def test_one_pass_solves_what_ridge_regression_solves(batch_size, far):
    generator = torch.Generator().manual_seed(2)
    for noise in (0.01, 3.0):  # a small penalty is best, and a large one
        embeds = torch.randn(40, 8, generator=generator) * torch.tensor([5.0, 1, 1, 1, 1, 1, 0.1, 0.0]) + far
        tokens = (embeds @ torch.randn(8, 30, generator=generator)).unflatten(1, (5, 6)) + far
        tokens += noise * torch.randn(40, 5, 6, generator=generator)
        whole = RidgePrior(8, 30, stretch=1.0).fit(embeds, tokens.flatten(1))
        ours = RidgeTokens(8, 5, 6).fit(embeds, tokens, batch_size=batch_size)
        atol = 1e-4 * float(tokens.std(0).mean())
        torch.testing.assert_close(ours(embeds).flatten(1), whole(embeds), atol=atol + 1e-5 * far, rtol=0)
        torch.testing.assert_close(ours.weight, whole.weight, atol=atol + 1e-5 * far, rtol=0)


def test_the_penalty_follows_the_noise():
    def taken(noise):
        generator = torch.Generator().manual_seed(0)
        embeds = torch.randn(40, 8, generator=generator)
        tokens = embeds @ torch.randn(8, 30, generator=generator) + noise * torch.randn(40, 30, generator=generator)
        return RidgeTokens(8, 5, 6).fit(embeds, tokens.unflatten(1, (5, 6))).alpha_

    assert taken(0.0) == 1e-3 < taken(5.0)


def test_tokens_of_another_shape_are_not_learned():
    for made, least in ((VisualTokens, 1), (RidgeTokens, 3)):
        with pytest.raises(PhospheneError, match=f"5 embeddings and 2 token arrays: give both .* {least} or more"):
            made(6, 4, 3).fit(torch.zeros(5, 6), torch.zeros(2, 4, 3))
        with pytest.raises(PhospheneError, match=r"shape \(3, 4, 5\) and \(n, 4, 3\) was expected: set n_t"):
            made(6, 4, 3).fit(torch.zeros(3, 6), torch.zeros(3, 4, 5))
        with pytest.raises(PhospheneError, match=r"from \(batch, 6\) and not from \(3, 7\)"):
            made(6, 4, 3).fit(torch.zeros(3, 7), torch.zeros(3, 4, 3))
        with pytest.raises(PhospheneError, match="0 embeddings"):
            made(6, 4, 3).fit(torch.zeros(0, 6), torch.zeros(0, 4, 3))
    with pytest.raises(PhospheneError, match="2 embeddings"):
        RidgeTokens(6, 4, 3).fit(torch.zeros(2, 6), torch.zeros(2, 4, 3))


# ---------------------------------------------------------------- the captioner


@pytest.mark.parametrize("num_beams", [1, 3])
def test_its_own_tokens_give_the_captions_of_the_stock_model(num_beams):
    stock, writer = small_git(), captioner(batch_size=2, num_beams=num_beams, max_new_tokens=9)
    pixels = processor()(pictures(), return_tensors="pt")["pixel_values"]
    expected = plain(stock.generate(pixel_values=pixels, do_sample=False, num_beams=num_beams, max_new_tokens=9))
    tokens = writer.tokens(pictures())
    assert tokens.shape == (5, *writer.shape) == (5, 17, 24)
    assert writer.ids(tokens) == expected
    assert writer.say(tokens) == [" ".join(WORDS[i] for i in row) for row in expected]
    assert len(set(map(tuple, expected))) >= 3  # or agreement would mean nothing
    assert [writer.ids(one[None])[0] for one in tokens] == expected  # alone as in a batch
    moved = [writer.ids(tokens.roll(1, 0))[i] for i in (1, 2, 3, 4, 0)]
    assert moved == expected


def test_its_own_tokens_give_the_logits_of_the_stock_model():
    stock, writer = small_git(), captioner()
    pixels = processor()(pictures(3), return_tensors="pt")["pixel_values"]
    words = torch.tensor([[2, 10, 11, 12], [2, 20, 21, 22], [2, 30, 31, 32]])
    expected = stock(input_ids=words, pixel_values=pixels).logits
    assert torch.equal(writer.model(input_ids=words, pixel_values=writer.tokens(pictures(3))[:, None]).logits, expected)
    other = writer.model(input_ids=words, pixel_values=writer.tokens(pictures(3)).roll(1, 0)[:, None]).logits
    assert float((other - expected).abs().max()) > 0.1


def test_a_model_of_several_frames_adds_their_embeddings():
    stock, writer = small_git(frames=2), captioner(frames=2, batch_size=2, max_new_tokens=9)
    pixels = processor()(pictures(6), return_tensors="pt")["pixel_values"].unflatten(0, (3, 2))
    expected = plain(stock.generate(pixel_values=pixels, do_sample=False, max_new_tokens=9))
    tokens = writer.tokens(pictures(6)).unflatten(0, (3, 2))
    kept = tokens.clone()
    assert writer.shape == (2, 17, 24)
    assert writer.ids(tokens) == expected
    assert torch.equal(tokens, kept)
    assert writer.ids(tokens.flip(1)) != expected
    with pytest.raises(PhospheneError, match=r"reads \(n, 2, 17, 24\)"):
        writer.ids(tokens[:, 0])


def test_a_caption_is_as_long_as_was_asked():
    writer = captioner(max_new_tokens=4)
    writer.model.generation_config.eos_token_id = None  # a random model would end anywhere
    assert [len(row) for row in writer.ids(writer.tokens(pictures(2)))] == [4, 4]


def test_predicted_tokens_are_written_from():
    torch.manual_seed(0)
    writer, adapter = captioner(), VisualTokens(8, 17, 24)
    embeds = torch.randn(3, 8, requires_grad=True)
    assert len(writer.say(adapter(embeds))) == 3
    assert embeds.grad is None
    assert writer.say(torch.empty(0, 17, 24)) == []
    assert writer.tokens([]).shape == (0, 17, 24)


def test_what_cannot_be_written_from_is_refused():
    writer = captioner()
    for wrong in ((2, 16, 24), (2, 17, 25), (17, 24), (2, 1, 17, 24)):
        with pytest.raises(PhospheneError, match=r"captioner reads \(n, 17, 24\): train a prior for this captioner"):
            writer.say(torch.zeros(wrong))
    with pytest.raises(PhospheneError, match="not finite"):
        writer.say(torch.full((1, 17, 24), float("nan")))
    with pytest.raises(PhospheneError, match="in use by another captioner: load the model again"):
        TokenCaptioner(writer.model, None, None)
    for option in ("batch_size", "max_new_tokens", "num_beams"):
        with pytest.raises(PhospheneError, match=f"{option} is 0: give 1 or more"):
            captioner(**{option: 0})


# ---------------------------------------------------------------- drift


def test_drift_of_known_captions():
    said = ["a red car", "a blue fish in a room", "a dog"]
    true = ["A red car.", "a fish in a room", "a cat"]
    found = drift(said, true, embed=lambda captions: np.eye(3)[[len(c.split()) % 3 for c in captions]])
    assert list(found.columns) == ["value", "chance"]
    # same places: 3 of 3; "a" of six; "a" of two. Words in any order: 6 of 6; 10 of 11; 2 of 4
    assert found["value"].to_dict() == pytest.approx(
        {
            "same": 1 / 3,
            "position": (1 + 1 / 6 + 1 / 2) / 3,
            "token_f1": (1 + 10 / 11 + 1 / 2) / 3,
            "clip": 2 / 3,
        }
    )
    off = {"a red car": (1 / 5, 1 / 3), "a blue fish in a room": (1 / 6, 1 / 6), "a dog": (1 / 3, 1 / 5)}
    assert found.at["position", "chance"] == pytest.approx(sum(map(sum, off.values())) / 6)
    assert found.at["same", "chance"] == 0
    assert "clip" not in drift(said, true).index


@given(st.lists(st.text("ab ", max_size=6), min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_drift_of_captions_with_themselves(captions, random):
    found = drift(captions, captions)
    assert found.at["same", "value"] == 1
    assert ((found["chance"] >= 0) & (found["chance"] <= found["value"] + 1e-12)).all()
    order = random.sample(range(len(captions)), len(captions))
    again = drift([captions[i] for i in order], [captions[i] for i in order])
    np.testing.assert_allclose(again, found, atol=1e-12)


def test_captions_that_are_one_for_all_are_at_chance():
    found = drift(["a red car"] * 4, ["a red car", "a dog", "a cat", "a dog"])
    np.testing.assert_allclose(found["value"], found["chance"])


@pytest.mark.parametrize(("said", "true"), [(["a"], ["a"]), (["a", "b"], ["a"]), ([], [])])
def test_drift_needs_pairs(said, true):
    with pytest.raises(PhospheneError, match="give one of each for two or more pictures"):
        drift(said, true)
