"""Gradients with answers known by hand."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from phosphene.errors import PhospheneError
from phosphene.explain.attribution import against, attribute, cosine, integrated, smooth

N, CHANS, TIMES, DIM = 7, 4, 5, 6


@pytest.fixture
def made():
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(2, DIM, CHANS * TIMES, generator=draw, dtype=torch.float64)
    eeg = torch.randn(N, CHANS, TIMES, generator=draw, dtype=torch.float64)
    targets = {name: torch.randn(N, DIM, generator=draw, dtype=torch.float64) for name in ("a", "b")}

    def heads(x):
        return {name: x.flatten(1) @ w.T for name, w in zip(("a", "b"), weight, strict=True)}

    return heads, weight, eeg, targets


def test_the_cosine_of_a_linear_head_has_the_gradient_of_the_textbook(made):
    heads, weight, eeg, targets = made
    found = attribute(heads, eeg.numpy(), targets, batch_size=3)
    for name, w in zip(("a", "b"), weight, strict=True):
        y, t = eeg.flatten(1) @ w.T, targets[name]
        t = t / t.norm(dim=1, keepdim=True)
        size = y.norm(dim=1, keepdim=True)
        by_hand = ((t - (t * y).sum(1, keepdim=True) * y / size**2) / size) @ w
        np.testing.assert_allclose(found[name], by_hand.reshape(eeg.shape).numpy(), atol=1e-12)


@pytest.mark.parametrize("points", [smooth(3), integrated(np.zeros((1, 1)), 4)])
def test_the_size_of_batches_changes_nothing(made, points):
    heads, _, eeg, targets = made
    one, all_ = (attribute(heads, eeg, targets, points=points, batch_size=size) for size in (2, N))
    np.testing.assert_allclose(one["a"], all_["a"], atol=1e-12)


def test_integrated_gradients_are_complete(made):
    heads, _, eeg, targets = made
    baseline = np.full((CHANS, TIMES), 0.3)
    found = attribute(
        lambda x: {"a": torch.tanh(heads(x)["a"] / 5)}, eeg, {"a": targets["a"]}, points=integrated(baseline, 64)
    )["a"]
    gain = [cosine(torch.tanh(heads(x)["a"] / 5), targets["a"]) for x in (eeg, torch.tensor(baseline).expand_as(eeg))]
    np.testing.assert_allclose((found * (eeg.numpy() - baseline)).sum((1, 2)), (gain[0] - gain[1]).numpy(), atol=1e-4)


def test_smoothing_leaves_a_linear_objective_as_it_is_and_averages_a_kink(made):
    heads, _, eeg, targets = made
    dot = lambda decoded, target: (decoded * target).sum(dim=1)  # noqa: E731
    plain, smoothed = (attribute(heads, eeg, targets, objective=dot, points=p) for p in (smooth(1, 0.0), smooth(4)))
    np.testing.assert_allclose(plain["b"], smoothed["b"], atol=1e-12)
    x = torch.cat([torch.full((1, 1, 2000), 3.0), torch.full((1, 1, 2000), 5.0)], dim=2).double()
    ones = {"a": torch.ones(1, 4000, dtype=torch.float64)}
    bend = attribute(
        lambda x: {"a": (x.flatten(1) - 3).abs()}, x, ones, objective=dot, points=smooth(8, 2 / x.std().item())
    )["a"]
    assert bend[..., :2000].mean() == pytest.approx(0, abs=0.03)  # at the kink, seen from both sides
    assert bend[..., 2000:].mean() == pytest.approx(0.6827, abs=0.03)  # one SD above it: 2 Phi(1) - 1


def test_the_contrast_asks_for_this_caption_and_no_other(made):
    targets = made[3]
    others = torch.cat([targets["a"], targets["b"]])
    decoded = targets["a"].clone().requires_grad_()
    score = against(others)(decoded, targets["a"])
    cosines = nn.functional.normalize(targets["a"], dim=1) @ nn.functional.normalize(others, dim=1).T / 0.07
    np.testing.assert_allclose(score.detach(), torch.log_softmax(cosines, 1).diagonal(), atol=1e-9)
    alone = against(targets["a"][:1])(decoded[:1], targets["a"][:1])
    assert alone.item() == 0.0  # the only other caption is the one shown


def test_one_objective_for_each_head(made):
    heads, _, eeg, targets = made
    mixed = attribute(heads, eeg, targets, objective={"a": cosine, "b": against(targets["b"])})
    same = attribute(heads, eeg, targets)
    np.testing.assert_array_equal(mixed["a"], same["a"])
    assert not np.allclose(mixed["b"], same["b"])


def test_subjects_travel_with_their_trials(made):
    heads, _, eeg, targets = made
    scale = torch.arange(1.0, N + 1, dtype=torch.float64)

    def by_subject(x, subject):
        return {"a": heads(x)["a"] * subject[:, None]}

    dot = lambda decoded, target: (decoded * target).sum(dim=1)  # noqa: E731
    with_subject = attribute(by_subject, eeg, {"a": targets["a"]}, subject=scale, objective=dot, batch_size=3)["a"]
    without = attribute(heads, eeg, {"a": targets["a"]}, objective=dot)["a"]
    np.testing.assert_allclose(with_subject, without * scale.numpy()[:, None, None])


def test_a_head_that_ignores_the_eeg_has_no_gradient(made):
    _, _, eeg, targets = made
    bias = torch.ones(DIM, dtype=torch.float64, requires_grad=True)
    assert not attribute(lambda x: {"a": bias.expand(len(x), -1)}, eeg, {"a": targets["a"]})["a"].any()


def test_mistakes_are_told(made):
    heads, _, eeg, targets = made
    with pytest.raises(PhospheneError, match="no head 'c'"):
        attribute(heads, eeg, {"c": targets["a"]})
    with pytest.raises(PhospheneError, match="3 targets for 7 trials"):
        attribute(heads, eeg, {"a": targets["a"][:3]})
    with pytest.raises(PhospheneError, match="without a gradient"):
        attribute(lambda x: {"a": heads(x)["a"].detach()}, eeg, {"a": targets["a"]})
    model = nn.Flatten()
    with pytest.raises(PhospheneError, match=r"call its eval\(\)"):
        attribute(model, eeg, {"a": targets["a"]})
    assert partial(attribute, lambda x: {"a": model(x)[:, :DIM]})(eeg, {"a": targets["a"]})["a"].shape == eeg.shape
