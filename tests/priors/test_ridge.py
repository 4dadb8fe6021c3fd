import pytest
import torch

from phosphene.errors import PhospheneError
from phosphene.priors.ridge import RidgePrior


def data(noise, n=400):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 6, generator=generator) * torch.arange(1, 7) + 2
    weight = torch.randn(6, 4, generator=generator)
    y = x @ weight + 5
    return x, y, y + noise * torch.randn(n, 4, generator=generator)


def test_a_linear_map_is_found():
    x, _, y = data(0.0)
    prior = RidgePrior(6, 4).fit(x, y)
    torch.testing.assert_close(prior(x), y, rtol=1e-2, atol=1e-1)


def test_the_spread_of_real_embeddings_is_given_back_within_bounds():
    x, _, y = data(10.0)
    plain, stretched = RidgePrior(6, 4, stretch=1.0).fit(x, y), RidgePrior(6, 4).fit(x, y)
    assert (plain(x).std(0) < y.std(0)).all()
    torch.testing.assert_close(stretched(x).std(0), y.std(0), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(stretched(x).mean(0), y.mean(0), rtol=1e-3, atol=1e-2)
    noise = RidgePrior(6, 4, stretch=2.0).fit(torch.randn(400, 6), y)
    assert (noise(torch.randn(400, 6)).std(0) < y.std(0)).all()


def test_more_noise_shrinks_more():
    x, _, weak = data(1.0, n=40)
    _, _, strong = data(300.0, n=40)
    norms = [RidgePrior(6, 4, stretch=1.0).fit(x, y).weight.norm() / y.std() for y in (weak, strong)]
    assert norms[1] < norms[0]


def test_too_few_samples():
    with pytest.raises(PhospheneError, match="at least 3"):
        RidgePrior(2, 2).fit(torch.zeros(2, 2), torch.zeros(2, 2))


def test_of_noise_the_largest_penalty_is_taken_though_it_fits_worst():
    """What is compared is the leave-one-out error: that of the fit is smallest without any penalty."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(30, 20, generator=generator), torch.randn(30, 4, generator=generator)
    alphas = (1e-6, 1e-2, 1e3)
    chosen = RidgePrior(20, 4, alphas=alphas, stretch=1.0).fit(x, y)
    single = {alpha: RidgePrior(20, 4, alphas=(alpha,), stretch=1.0).fit(x, y) for alpha in alphas}
    torch.testing.assert_close(chosen.weight, single[1e3].weight)
    fit = {alpha: float((prior(x) - y).square().mean()) for alpha, prior in single.items()}
    assert min(fit, key=fit.get) == 1e-6
    left_out = {}
    for alpha in alphas:
        rows = [torch.arange(30) != i for i in range(30)]
        away = [RidgePrior(20, 4, alphas=(alpha,), stretch=1.0).fit(x[r], y[r])(x[~r]) - y[~r] for r in rows]
        left_out[alpha] = float(torch.cat(away).square().mean())
    assert min(left_out, key=left_out.get) == 1e3
