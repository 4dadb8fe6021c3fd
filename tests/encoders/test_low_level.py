"""The decoders of latents: parity with the published one, and what the small one solves and trains."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from conftest import ROUNDING, golden, off
from golden import fill
from phosphene.encoders.low_level import (
    LATENT_LOSSES,
    LOW_LEVEL,
    FromPoint,
    PublishedLowLevel,
    SmallLowLevel,
    low_level,
)
from phosphene.errors import PhospheneError

SHAPE = (3, 8, 8)
NARROW = {"published": {"width": 32}, "small": {}}
PARAMETERS = {"v2": 143_333_269, "v3": 143_332_773}


def built(name, **more):
    torch.manual_seed(0)
    decoder = low_level(name, **{"n_chans": 5, "n_times": 20, "shape": SHAPE, **NARROW[name], **more})
    decoder.observe(torch.randn(30, *decoder.shape))
    return decoder


@pytest.mark.parametrize("release", PARAMETERS)
def test_names_and_counts_are_the_published_ones(release):
    with torch.device("meta"):
        model = PublishedLowLevel(63, 250, release=release)
    assert sum(p.numel() for p in model.parameters()) + 1 == PARAMETERS[release]  # its logit_scale is not ours
    names = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    linear, last = {"v2": ("subject_wise_linear", (32, 16, 1, 1)), "v3": ("subject_linear", (32, 4, 1, 1))}[release]
    assert names[f"{linear}.0.weight"] == (128, 250)
    sides = [(8064, 1024), (1024, 512), (512, 256), (256, 128), (128, 64), (64, 32)]
    assert [names[f"upsampler.{3 * i}.weight"] for i in range(6)] == [(*side, 4, 4) for side in sides]
    assert [names[f"upsampler.{3 * i + 1}.running_var"] for i in range(6)] == [(side[1],) for side in sides]
    assert names["upsampler.18.weight"] == last
    assert ("upsampler.21.weight" in names) == (release == "v2")
    assert {key.split(".")[0] for key in names} == {linear, "upsampler"}


def test_parity():
    """Most weights of the two releases have the same names, hence the same values: they are filled once."""
    states = {}
    for release in PARAMETERS:
        facts, expected = golden(f"lowlevel_{release}")
        with torch.device("meta"):
            model = PublishedLowLevel(63, 250, release=release).eval()
        shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
        new = {key: shape for key, shape in shapes.items() if key not in states or tuple(states[key].shape) != shape}
        states |= {key: torch.tensor(value) for key, value in fill.fill_state_dict(new, facts["weight_seed"]).items()}
        model.load_state_dict({key: states[key] for key in shapes}, assign=True)
        eeg = torch.from_numpy(fill.inputs(**{k: facts["inputs"]["eeg"][k] for k in ("shape", "seed")}))
        with torch.inference_mode():
            got = model(eeg)
        assert off(got.double(), expected["latent"]) <= ROUNDING  # the rounding of both: double takes 20 s


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))
def test_one_matrix_product_is_the_convolution(high, wide, batch):
    torch.manual_seed(high * 10 + wide)
    fast = FromPoint(6, 5, (2 * high + 2, 2 * wide + 2), 2, 1).double()
    x = torch.randn(batch, 6, 1, 1, dtype=torch.float64)
    naive = F.conv_transpose2d(x, fast.weight, fast.bias, stride=2, padding=1)
    assert naive.shape == (batch, 5, 2 * high, 2 * wide)
    torch.testing.assert_close(fast(x), naive)
    for made in (fast(x), naive):
        made.square().sum().backward()
    assert torch.count_nonzero(fast.weight.grad) == 6 * 5 * 4 * high * wide  # the outer taps learn nothing
    twice = fast.weight.grad.clone()
    fast.weight.grad = None
    naive = F.conv_transpose2d(x, fast.weight, fast.bias, stride=2, padding=1)
    naive.square().sum().backward()
    torch.testing.assert_close(twice, 2 * fast.weight.grad)


@pytest.mark.parametrize("name", LOW_LEVEL)
@pytest.mark.parametrize("shape", [(4, 2, 2), (12, 16, 16), (4, 8, 16), (4, 12, 12), [3, 6, 4]])
def test_any_latent_whose_sides_are_even(name, shape):
    decoder = built(name, shape=shape)
    eeg = torch.randn(4, 5, 20)
    out = decoder.train()(eeg)
    assert out.shape == (4, *shape)
    assert decoder.n_outputs == out[0].numel()
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in decoder.parameters())
    decoder.eval()
    with torch.inference_mode():
        torch.testing.assert_close(decoder(eeg[2:3]), decoder(eeg)[2:3], rtol=1e-4, atol=1e-5)
    again = low_level(name, n_chans=5, n_times=20, shape=shape, **NARROW[name])
    again.load_state_dict(decoder.state_dict())
    torch.testing.assert_close(again.eval()(eeg), decoder(eeg))


@pytest.mark.parametrize(("release", "shape"), [("v2", (4, 8, 8)), ("v3", (4, 12, 24)), ("v3", (2, 2, 2))])
def test_published_checkpoints_load(tmp_path, release, shape):
    model = built("published", release=release, shape=shape).eval()
    states = {f"module.{key}": value for key, value in model.state_dict().items()}
    torch.save({"module.logit_scale": torch.tensor(2.66), **states}, tmp_path / "low.pth")
    again = PublishedLowLevel.from_published(tmp_path / "low.pth")
    assert (again.release, again.shape, again.n_chans, again.n_times) == (release, shape, 5, 20)
    eeg = torch.randn(2, 5, 20)
    assert torch.equal(again(eeg), model(eeg))
    for other in ({"weight": torch.zeros(2)}, [1], {**states, "module.more": torch.zeros(1)}):
        torch.save(other, tmp_path / "other.pth")
        with pytest.raises(PhospheneError, match="holds no low-level decoder"):
            PublishedLowLevel.from_published(tmp_path / "other.pth")


def test_only_v3_drops_out():
    eeg = torch.randn(4, 5, 20)
    for release, alike in (("v2", True), ("v3", False)):
        model = built("published", release=release, shape=(2, 2, 2)).train()
        assert torch.equal(model(eeg), model(eeg)) is alike


def test_the_small_one_is_small():
    with torch.device("meta"):
        model = SmallLowLevel(63, 250)
    assert sum(p.numel() for p in model.parameters()) == 266_176
    assert sum(v.numel() for v in model.state_dict().values()) == 266_176 + 2_113_536


def test_it_solves_the_ways_in_which_latents_differ():
    torch.manual_seed(0)
    mean, ways = torch.randn(SHAPE), torch.linalg.qr(torch.randn(192, 3)).Q.T
    sizes = torch.tensor([5.0, 2.0, 1.0])
    latents = mean + (torch.randn(4000, 3) * sizes @ ways).unflatten(1, SHAPE)
    model = SmallLowLevel(5, 20, SHAPE, rank=4)
    model.observe(latents)
    torch.testing.assert_close(model.mean, latents.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.basis.norm(dim=1)[:3], sizes, rtol=0.05, atol=0)
    cosine = F.normalize(model.basis[:3], dim=1) @ ways.T
    torch.testing.assert_close(cosine.abs(), torch.eye(3), atol=0.05, rtol=0)
    assert float(model.basis[3].norm()) < 1e-3
    few = SmallLowLevel(5, 20, SHAPE, rank=50)
    few.observe(latents[:4])
    assert torch.count_nonzero(few.basis.norm(dim=1) > 1e-3) == 3


@pytest.mark.parametrize("loss", LATENT_LOSSES)
def test_it_learns_what_the_eeg_says(loss):
    """Latents that are a linear map of EEG with little noise, of other trials."""
    torch.manual_seed(0)
    eeg, ways = torch.randn(600, 4, 10), torch.linalg.qr(torch.randn(192, 6)).Q.T
    clean = (eeg.flatten(1) @ torch.randn(40, 6) @ ways).unflatten(1, SHAPE) + 3
    latents = clean + 0.1 * torch.randn_like(clean)
    model = SmallLowLevel(4, 10, SHAPE, n_steps=8, rank=16, dropout=0.0)
    model.observe(latents[:500])
    optimiser = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(150):
        optimiser.zero_grad()
        LATENT_LOSSES[loss](model(eeg[:500]), latents[:500]).backward()
        optimiser.step()
    left = (model(eeg[500:]).detach() - clean[500:]).square().mean() / (clean[500:] - 3).square().mean()
    assert float(left) < 0.1


def test_losses_are_what_their_names_say():
    a, b = torch.zeros(2, 1, 1, 2), torch.tensor([[[[1.0, 3.0]]], [[[0.0, 0.0]]]])
    assert float(LATENT_LOSSES["l1"](a, b)) == 1.0
    assert float(LATENT_LOSSES["mse"](a, b)) == 2.5


def test_what_does_not_fit_is_refused():
    with pytest.raises(PhospheneError, match="unknown low-level decoder 'smal': did you mean 'small'"):
        low_level("smal")
    with pytest.raises(PhospheneError, match="unknown key 'ranks' of low-level decoder 'small': did you mean 'rank'"):
        low_level("small", n_chans=5, n_times=20, ranks=3)
    with pytest.raises(PhospheneError, match=r"shape is \(4, 64\): give \(channels, height, width\)"):
        low_level("small", n_chans=5, n_times=20, shape=(4, 64))
    with pytest.raises(PhospheneError, match="latents of 8 x 7: give sides that are even"):
        low_level("published", n_chans=5, n_times=20, shape=(4, 8, 7))
    with pytest.raises(PhospheneError, match="width is 4: it is halved 3 times, give 8 or more"):
        low_level("published", n_chans=5, n_times=20, shape=(4, 8, 8), width=4)
    with pytest.raises(PhospheneError, match="unknown release 'v4'"):
        low_level("published", n_chans=5, n_times=20, release="v4")
    with pytest.raises(PhospheneError, match=r"call observe\(training latents\)"):
        low_level("small", n_chans=5, n_times=20)(torch.zeros(1, 5, 20))
    small = low_level("small", n_chans=5, n_times=20, shape=SHAPE)
    for latents in (torch.zeros(4, 3, 8, 7), torch.zeros(1, *SHAPE)):
        with pytest.raises(PhospheneError, match=r"give \(n, 3, 8, 8\), n above 1"):
            small.observe(latents)
    with pytest.raises(PhospheneError, match="all alike"):
        small.observe(torch.ones(4, *SHAPE))
    for name in LOW_LEVEL:
        with pytest.raises(PhospheneError, match="was built for"):
            built(name)(torch.zeros(2, 4, 20))
