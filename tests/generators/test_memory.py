"""The memory estimate: of known allocations, and of a U-Net's shapes."""

import pytest
import torch

from backbones.published import build, published
from generators.test_tuned import tiny
from phosphene.errors import PhospheneError
from phosphene.generators.memory import Peak, training_memory
from phosphene.generators.tuned import TunedUNet


def test_allocations_are_counted_while_they_live():
    first = torch.zeros(10)
    with Peak([first]) as peak:
        a = torch.zeros(1000)
        b = a.reshape(10, 100).t()[1:] + first  # views take nothing; 990 values
        assert peak.now == 4 * 1990
        del a
        assert peak.now == 4 * 990
        c = b.double()
        del b
        assert peak.now == 8 * 990
        first.t()
    assert peak.most == (4 + 8) * 990
    assert c.numel() == 990


def test_what_autograd_holds_is_counted_until_it_is_used():
    weight = torch.zeros(50, 50, requires_grad=True)
    x = torch.zeros(8, 50)
    with Peak([weight, x]) as peak:
        y = (x @ weight).exp()
        held = peak.now
        assert held == 4 * 400  # exp holds its result
        y.sum().backward()
        del y
        assert peak.now == 4 * 2500  # the gradient
    assert peak.most >= 4 * 2900


def meta(**options):
    with torch.device("meta"):
        return TunedUNet(tiny(), **options)


def test_parts_of_a_small_unet():
    net, real = meta(), TunedUNet(tiny())
    trained, whole = (sum(p.numel() for p in part.parameters()) for part in (net, net.unet))
    adapter = sum(p.numel() for p in net.adapter.parameters())
    made = training_memory(net, batch_size=8, side=16, n_tokens=5, bfloat16=False)
    assert (made.weights, made.optimiser, made.average) == (4 * (whole + adapter), 8 * trained, 4 * trained)
    assert made.total == made.weights + made.optimiser + made.step
    assert all(p.is_meta for p in net.parameters())
    noisy, time, latent = torch.zeros(8, 4, 16, 16), torch.zeros(8), torch.zeros(8, 5, 24)
    with Peak([*real.unet.parameters(), *real.parameters()]) as peak:  # the same step with weights
        real(noisy, time, latent).square().mean().backward()
    assert made.step == pytest.approx(peak.most, rel=0.01)
    half = training_memory(net, batch_size=8, side=16, n_tokens=5)
    less = training_memory(meta(checkpointing=True), batch_size=8, side=16, n_tokens=5)
    assert 0.5 * made.step < half.step < made.step
    assert 4 * trained < less.step < 0.8 * half.step
    with pytest.raises(PhospheneError, match="made without weights"):
        training_memory(real)


@pytest.mark.slow
def test_sd21_as_released_fits_24_gb():
    unet = build(published("sd21")["parts"]["unet"])
    made = training_memory(TunedUNet(unet, checkpointing=True), batch_size=8, side=64)
    assert made.weights == 4 * (865_910_724 + 25_559_040 + 4_200_448)
    assert made.optimiser == 8 * 108_052_608
    assert made.total < 8 * 2**30
