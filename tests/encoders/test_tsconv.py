"""The shared convolution gives the numbers and gradients of its layers called one after the other."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from golden import fill
from phosphene.encoders.base import Dropout
from phosphene.encoders.tsconv import TSConv
from phosphene.errors import PhospheneError


class InTurn(nn.Module):
    """The published order of layers, with layers of torch alone."""

    def __init__(self, conv: TSConv):
        super().__init__()
        self.tsconv, self.projection = copy.deepcopy(conv.tsconv), copy.deepcopy(conv.projection)
        self.tsconv[7] = nn.Dropout(conv.tsconv[7].p)

    def forward(self, eeg):
        return self.projection(self.tsconv(eeg[:, None])).squeeze(2).transpose(1, 2)


def pair(n_chans=6, n_times=120, kernel=25, pool=51, stride=5, seed=0):
    conv = TSConv(n_chans, n_times, kernel, pool, stride, dropout=0.0)
    fill.load(conv, seed)
    return conv, InTurn(conv)


def close(got, want, tolerance=5e-6):
    return (got - want).abs().max() <= tolerance * want.square().mean().sqrt()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(6, 120, 25, 51, 5), (6, 120, 5, 17, 5), (3, 31, 4, 3, 7), (1, 9, 1, 1, 1)])
def test_outputs_and_gradients_are_those_of_the_layers_in_turn(shape, training):
    conv, plain = (m.double().train(training) for m in pair(*shape))
    eeg = torch.from_numpy(fill.inputs((37, *shape[:2]), 5)).double().requires_grad_()
    twin = eeg.detach().clone().requires_grad_()
    got, want = conv(eeg), plain(twin)
    assert got.shape == want.shape == (37, conv.steps, conv.width)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
    weight = torch.from_numpy(fill.inputs(got.shape, 6)).double()
    (got * weight).sum().backward()
    (want * weight).sum().backward()
    torch.testing.assert_close(eeg.grad, twin.grad, rtol=1e-7, atol=1e-9)
    theirs = dict(plain.named_parameters())
    for name, parameter in conv.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-7, atol=1e-8)
    for name, buffer in conv.named_buffers():
        torch.testing.assert_close(buffer, dict(plain.named_buffers())[name], rtol=1e-9, atol=1e-12)


def test_single_precision_is_as_good_as_that_of_the_layers():
    conv, plain = pair(63, 250)
    exact = copy.deepcopy(plain).double()
    eeg = torch.from_numpy(fill.inputs((20, 63, 250), 1))
    for module in (conv, plain, exact):
        module.train()
    want = exact(eeg.double())
    assert close(conv(eeg), want, 4e-6)
    eeg.requires_grad_()
    (got,) = torch.autograd.grad(conv(eeg).square().sum(), eeg)
    wide = eeg.detach().double().requires_grad_()
    (true,) = torch.autograd.grad(exact(wide).square().sum(), wide)
    assert close(got, true, 2e-5)


@pytest.mark.parametrize(("scale", "offset"), [(1e-6, 0.0), (30.0, 0.0), (1.0, 50.0)])
def test_filters_that_cancel_lose_no_digits(scale, offset):
    """Slow signals, and filters that see only their curvature: the variance is a small difference of large numbers."""
    conv, plain = pair(4, 250)
    with torch.no_grad():
        curved = torch.zeros(25)
        curved[10:13] = torch.tensor([1.0, -2.0, 1.0])
        conv.tsconv[0].weight[:20] = curved
    plain = InTurn(conv).double().train()
    eeg = torch.from_numpy(fill.inputs((16, 4, 250), 2)).cumsum(dim=2) * scale + offset
    assert close(conv.train()(eeg), plain(eeg.double()), 2e-3 if offset else 2e-4)


@given(
    kernel=st.integers(1, 9),
    pool=st.integers(1, 9),
    stride=st.integers(1, 9),
    extra=st.integers(0, 12),
    batch=st.integers(2, 20),
    n_chans=st.integers(1, 4),
)
@settings(max_examples=25, deadline=None)
def test_any_window(kernel, pool, stride, extra, batch, n_chans):
    n_times = kernel + pool - 1 + extra
    conv, plain = (m.double().train() for m in pair(n_chans, n_times, kernel, pool, stride))
    eeg = torch.from_numpy(fill.inputs((batch, n_chans, n_times), 3)).double()
    torch.testing.assert_close(conv(eeg), plain(eeg), rtol=1e-7, atol=1e-7)


def test_running_statistics_are_used_once_trained():
    conv, plain = pair()
    eeg = torch.from_numpy(fill.inputs((40, 6, 120), 4))
    for module in (conv, plain):
        for part in eeg.split(20):
            module.train()(part)
    assert conv.tsconv[2].num_batches_tracked == 2
    conv.eval()
    assert close(conv(eeg), plain.eval()(eeg))
    torch.testing.assert_close(conv(eeg)[3:4], conv(eeg[3:4]))  # a trial stands for itself


def test_windows_that_do_not_fit_are_refused():
    with pytest.raises(PhospheneError, match="20 samples are too few for kernel 25 and pool 51"):
        TSConv(4, 20, 25, 51, 5, 0.5)
    with pytest.raises(PhospheneError, match="must be 1 or more"):
        TSConv(4, 20, 3, 3, 0, 0.5)


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5])
def test_dropout_is_that_of_torch(p):
    torch.manual_seed(0)
    x = torch.ones(499, 1001, requires_grad=True)
    layer = Dropout(p)
    y = layer(x)
    share = float((y == 0).float().mean())
    assert abs(share - p) < 5 * (p * (1 - p) / x.numel()) ** 0.5 + 1 / 65536
    assert abs(float(y.detach().mean()) - 1) < 5 * (p / (1 - p) / x.numel()) ** 0.5
    assert len(y.unique()) == 2
    rows = (y == 0).float()  # neighbours are independent
    assert abs(float((rows[:, 1:] * rows[:, :-1]).mean()) - p * p) < 5 * p / x.numel() ** 0.5
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient, y.detach())
    torch.manual_seed(0)
    assert torch.equal(layer(x), y)
    assert layer.eval()(x) is x
    assert torch.equal(Dropout(0.0)(x), x)
    assert not Dropout(1.0)(x).any()
