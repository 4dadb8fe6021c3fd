import math

import pytest
import torch
import torch.nn.functional as F

from conftest import ROUNDING, golden, off
from golden import fill
from phosphene.errors import PhospheneError
from phosphene.losses import (
    SYNAPSE_SCALE,
    cosine_distance,
    info_nce,
    signal_dice,
    token_cosine,
    uncertainty_weighted,
    weighted,
)


def test_info_nce_of_orthogonal_pairs_is_known():
    x = torch.eye(4)
    assert info_nce(x, x, 1.0).item() == pytest.approx(-math.log(math.e / (math.e + 3)), rel=1e-6)
    assert info_nce(x, x.roll(1, 0), 100.0).item() == pytest.approx(100.0, rel=1e-3)


def test_info_nce_ignores_length_and_is_symmetric():
    a, b = torch.randn(6, 5), torch.randn(6, 5)
    assert info_nce(a * 7, b, 3.0).item() == pytest.approx(info_nce(b, a, 3.0).item(), rel=1e-5)


def test_repeats_of_a_stimulus_are_no_negatives():
    a = torch.eye(3)[[0, 0, 1]]
    groups = torch.tensor([5, 5, 7])
    masked = info_nce(a, a, 4.0, groups=groups).item()
    # each row keeps its own pair and the one other stimulus: exp(4) against exp(0); the lone row has two others
    two, three = -math.log(math.exp(4) / (math.exp(4) + 1)), -math.log(math.exp(4) / (math.exp(4) + 2))
    assert masked == pytest.approx((2 * two + three) / 3, rel=1e-5)
    assert masked < info_nce(a, a, 4.0).item()


def test_cosine_distance_ends():
    x = torch.randn(3, 4)
    assert cosine_distance(x, 2 * x).item() == pytest.approx(0, abs=1e-6)
    assert cosine_distance(x, -x).item() == pytest.approx(2, abs=1e-6)


def test_the_losses_of_atm_are_the_published_ones():
    facts, expected = golden("atm_losses")
    image, text, noise = (
        torch.from_numpy(fill.inputs(facts["inputs"][key]["shape"], facts["inputs"][key]["seed"])).double()
        for key in ("img", "text", "noise")
    )
    eeg, scale = 0.05 * image + noise, torch.tensor(2.6593)
    raw = {"normalise": False}
    clip, mse = info_nce(eeg, image, scale, **raw), torch.nn.functional.mse_loss(eeg, image)

    def mixed(scale, **how):
        return 0.99 * info_nce(eeg, image, scale, **how) + 0.01 * info_nce(eeg, text, scale, **how)

    found = {
        "clip_raw": clip,
        "mse": mse,
        "v2_retrieval": mixed(scale, **raw),
        "v2_generation": 10 * (0.9 * mse + 0.1 * clip),
        "v3_retrieval_normalised_exp": mixed(scale.exp()),
        "v3_retrieval_normalised_linear": mixed(scale),
        "v3_retrieval_unnormalised_exp": mixed(scale.exp(), **raw),
    }
    for name, value in found.items():
        assert value.item() == pytest.approx(float(expected[name]), rel=2e-6), name


def test_the_losses_of_synapse_and_their_gradients_are_the_published_ones():
    facts, expected = golden("synapse_losses")
    given = {
        key: torch.from_numpy(fill.inputs(entry["shape"], entry["seed"])).double()
        for key, entry in facts["inputs"].items()
    }
    eeg, image, text = given["eeg"], given["image"], given["text"]
    rebuilt = (0.7 * eeg + 0.5 * given["rec_noise"]).requires_grad_()
    latent = (given["latent_noise"] + 0.01 * image[:, None] + 0.3 * text).requires_grad_()
    losses = {
        "sdsc": signal_dice(rebuilt, eeg),
        "sim": info_nce(latent.mean(dim=1), image, SYNAPSE_SCALE),
        "cos": token_cosine(latent, text, axis="token"),
        "rec": F.mse_loss(rebuilt, eeg),
        "align": F.mse_loss(latent, text.expand_as(latent)),
    }
    total = uncertainty_weighted(list(losses.values()))
    found = losses | {
        "total_train": total,
        "total_validation": weighted(losses, {"sdsc": 10, "sim": 1, "cos": 1, "rec": 1, "align": 1}),
        "sdsc_soft_metric": 1 - losses["sdsc"],
        "sdsc_hard_metric": 1 - signal_dice(rebuilt, eeg, steepness=1e30),
    }
    for name, value in found.items():
        assert value.item() == pytest.approx(float(expected[name]), rel=2e-6), name
    total.backward()
    for name, tensor, stride in (("reconstruction", rebuilt, 12), ("latent", latent, 16)):
        of = f"grad_total_wrt_{name}"
        rms = facts["outputs"][of]["l2"] / math.sqrt(tensor.numel())
        assert off(tensor.grad.flatten()[::stride], expected[of], rms) <= ROUNDING
    fixed = weighted(losses, dict.fromkeys(losses, 0.5))
    assert fixed.item() == pytest.approx(total.item() - 5 * math.log(2), rel=1e-5)


def test_signal_dice_ends_and_its_gate_has_no_gradient():
    x = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    assert signal_dice(x, x).item() == pytest.approx(0, abs=1e-6)
    assert signal_dice(-x, x).item() == pytest.approx(1, abs=1e-6)
    assert signal_dice(x / 2, x).item() == pytest.approx(1 - 2 * 3 / 9, abs=1e-6)
    small = torch.tensor([0.01], requires_grad=True)  # below the signal, where its own size is what overlaps
    signal_dice(small, torch.tensor([0.03])).backward()
    gate = 1 / (1 + math.exp(-100 * 0.01 * 0.03))
    assert small.grad.item() == pytest.approx(-2 * gate / 0.04 + 2 * gate * 0.01 / 0.04**2, rel=1e-3)


def test_the_cosine_of_tokens_takes_the_axis_it_is_given():
    a = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    b = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    assert token_cosine(a, b).item() == pytest.approx(0.5)  # tokens: alike, orthogonal
    assert token_cosine(a, b, axis="token").item() == pytest.approx(1 - (2**-0.5 + 0) / 2)
    wide, narrow = torch.randn(3, 5, 7), torch.randn(1, 5, 7)
    assert token_cosine(wide, narrow).item() == pytest.approx(token_cosine(wide, narrow.expand(3, 5, 7)).item())
    with pytest.raises(PhospheneError, match="unknown axis 'tokens' of the cosine: did you mean 'token'"):
        token_cosine(a, b, axis="tokens")


def test_spreads_that_are_trained_find_the_size_of_their_loss():
    """Of 0.5 l / w^2 + ln(1 + w^2) the minimum is where 2 w^4 = l (1 + w^2)."""
    losses, spreads = [torch.tensor(4.0), torch.tensor(0.1)], torch.ones(2, requires_grad=True)
    for _ in range(100):
        (grad,) = torch.autograd.grad(uncertainty_weighted(losses, spreads), spreads)
        spreads = (spreads - 0.1 * grad).detach().requires_grad_()
    square = spreads.detach().square()
    torch.testing.assert_close(2 * square.square(), torch.stack(losses) * (1 + square), rtol=1e-2, atol=0)


def test_weights_are_given_for_every_loss():
    one = {"a": torch.tensor(2.0), "b": torch.tensor(3.0)}
    assert weighted(one, {"b": 2.0, "a": 0.5}).item() == 7.0
    for wrong in ({"a": 1.0}, {"a": 1.0, "b": 1.0, "c": 1.0}):
        with pytest.raises(PhospheneError, match="losses a, b and weights .*: give one for each"):
            weighted(one, wrong)
    with pytest.raises(PhospheneError, match=r"2 losses and spreads \(3,\): give one for each loss"):
        uncertainty_weighted(list(one.values()), torch.ones(3))
