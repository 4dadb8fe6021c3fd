import math

import pytest
import torch

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
