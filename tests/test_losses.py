import math

import pytest
import torch

from conftest import golden
from golden import fill
from phosphene.losses import cosine_distance, info_nce


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
        torch.from_numpy(fill.inputs(facts["inputs"][key]["shape"], facts["inputs"][key]["seed"]))
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
