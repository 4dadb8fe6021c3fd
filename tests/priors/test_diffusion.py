import json
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from phosphene.backbones.samplers import SAMPLERS
from phosphene.errors import PhospheneError
from phosphene.networks.denoisers import NETWORKS, default_widths
from phosphene.networks.sampling import PREDICTS, denoise, guided, row_generators, scheduler_of
from phosphene.priors.diffusion import DiffusionPrior
from phosphene.registry import build
from phosphene.utils.restricted import read_torch

SHARED = Path(os.environ.get("PHOSPHENE_SHARED", Path(__file__).resolve().parents[3] / "shared"))
FEATURES = SHARED / "data" / "things-eeg2-embeddings" / "atm" / "ViT-H-14_img_features_test_unnormalised.pt"
SMALL = {"widths": [32, 16], "time_dim": 8}


def made(n_inputs=6, n_outputs=8, seed=0, **changes):
    torch.manual_seed(seed)
    prior = DiffusionPrior(n_inputs, n_outputs, **{**SMALL, **changes})
    return prior.observe(torch.randn(50, n_outputs) * 3 + 2, torch.randn(50, n_inputs)).eval()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def trained(targets, conditions, steps=1500, **changes):
    torch.manual_seed(0)
    prior = DiffusionPrior(conditions.shape[1], targets.shape[1], **changes).observe(targets, conditions).train()
    optimizer = torch.optim.Adam(prior.parameters(), 3e-3)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    draws = generator(1)
    for _ in range(steps):
        rows = torch.randint(0, len(targets), (128,), generator=draws)
        loss = prior.loss(conditions[rows], targets[rows], draws)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
    return prior.eval()


@pytest.fixture(scope="module")
def learned():
    """Targets are the condition plus a spread of 0.5, far from zero and of other scale: the posterior is known."""
    draws = generator(3)
    conditions = torch.randn(3000, 2, generator=draws)
    targets = 20 + 5 * (conditions + 0.5 * torch.randn(3000, 2, generator=draws))
    return trained(targets, conditions, widths=[64, 32], time_dim=32, dropout=0.0)


@pytest.mark.parametrize(("sampler", "steps"), [("ddpm", 50), ("ddim", 50), ("dpmsolver++", 12), ("unipc", 12)])
def test_the_posterior_is_learned(learned, sampler, steps):
    learned.sampler, learned.steps, learned.guidance = sampler, steps, 1.0
    point = torch.tensor([0.6, -0.8])
    drawn = learned(point.expand(1000, 2), seed=5)
    torch.testing.assert_close(drawn.mean(0), 20 + 5 * point, rtol=0, atol=0.7)
    torch.testing.assert_close(drawn.std(0), torch.full((2,), 2.5), rtol=0, atol=0.5)


def test_guidance_zero_forgets_the_condition_and_more_of_it_follows_it(learned):
    learned.sampler, learned.steps, learned.keep_norm = "ddim", 30, False
    condition = torch.tensor([[1.0, 0.0]]).repeat(500, 1)
    means = {}
    for guidance in (0.0, 1.0, 3.0):
        learned.guidance = guidance
        means[guidance] = float(learned(condition)[:, 0].mean())
    assert abs(means[0.0] - 20) < 1
    assert means[0.0] + 3 < means[1.0] < means[3.0] - 1


@settings(max_examples=12)
@given(st.integers(1, 9), st.permutations(range(7)), st.sampled_from(sorted(SAMPLERS)))
def test_a_row_depends_on_seed_and_number_alone(batch_size, order, sampler):
    prior = made(sampler=sampler, steps=4, guidance=2.0)
    condition = torch.randn(7, 6, generator=generator())
    whole = prior(condition, seed=3)
    prior.batch_size = batch_size
    torch.testing.assert_close(prior(condition, seed=3), whole, rtol=1e-4, atol=1e-4)
    again = prior(condition[list(order)], seed=3, numbers=list(order))
    torch.testing.assert_close(again, whole[list(order)], rtol=1e-4, atol=1e-4)
    other = prior(condition, seed=4)
    assert ((other - whole).abs().amax(1) > 1e-2).all()
    assert ((prior(condition, seed=3, numbers=range(7, 14)) - whole).abs().amax(1) > 1e-2).all()


def test_stochastic_samplers_add_noise_of_the_row():
    a, b = (torch.randn(1, 5, generator=g) for g in row_generators(0, [3, 4]))
    assert (a != b).all()
    torch.testing.assert_close(torch.randn(1, 5, generator=row_generators(0, [4])[0]), b)
    for sampler in SAMPLERS:
        drawn = made(sampler=sampler, steps=4)(torch.zeros(2, 6), numbers=[1, 1])
        torch.testing.assert_close(drawn[0], drawn[1], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("guidance", [0.0, 1.0, 2.5])
@torch.inference_mode()
def test_the_doubled_batch_is_the_two_passes(network, guidance):
    net = made(network=network, widths=[16, 16]).network
    condition, x, timesteps = torch.randn(3, 6), torch.randn(3, 8), torch.tensor([900, 500, 20])
    predict = guided(net, condition, timesteps, guidance)
    for step, t in enumerate(timesteps):
        u, c = net(x, t[None]), net(x, t[None], condition)
        torch.testing.assert_close(predict(x, step), u + guidance * (c - u), rtol=1e-4, atol=1e-5)


def test_sampling_leaves_the_prior_as_it_was():
    prior = made(dropout=0.5, steps=3).train()
    state = {k: v.clone() for k, v in prior.state_dict().items()}
    torch.manual_seed(0)
    before = torch.get_rng_state()
    condition = torch.randn(4, 6, generator=generator())
    drawn = prior(condition)
    assert prior.training
    assert not drawn.requires_grad
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(state[k], v) for k, v in prior.state_dict().items())
    torch.testing.assert_close(prior.eval()(condition), drawn)  # without dropout either way
    assert prior(torch.empty(0, 6)).shape == (0, 8)


def test_statistics_travel_with_the_weights():
    prior = made(steps=3)
    again = DiffusionPrior(6, 8, steps=3, **SMALL)
    with pytest.raises(PhospheneError, match="call observe"):
        again(torch.zeros(1, 6))
    with pytest.raises(PhospheneError, match="call observe"):
        again.loss(torch.zeros(1, 6), torch.zeros(1, 8))
    again.load_state_dict(prior.state_dict())
    condition = torch.randn(4, 6)
    torch.testing.assert_close(again.eval()(condition), prior(condition))
    torch.testing.assert_close(prior.mean_out, torch.full((8,), 2.0), rtol=0, atol=1.5)
    torch.testing.assert_close(prior.scale_out, torch.full((8,), 3.0), rtol=0, atol=1.0)


@settings(max_examples=12)
@given(st.floats(0.01, 100), st.floats(-50, 50))
def test_loss_and_samples_do_not_depend_on_scale_and_offset(scale, offset):
    draws = generator(2)
    x, c = torch.randn(60, 8, generator=draws), torch.randn(60, 6, generator=draws)
    plain = made(seed=1, steps=3).observe(x, c)
    moved = made(seed=1, steps=3).observe(scale * x + offset, scale * c - offset)
    torch.testing.assert_close(moved.loss(scale * c - offset, scale * x + offset), plain.loss(c, x), rtol=1e-3, atol=0)
    torch.testing.assert_close(
        (moved(scale * c - offset) - offset) / scale, plain(c), rtol=1e-2, atol=1e-2 * (1 + abs(offset) / scale)
    )


def test_raw_targets_are_taken_as_they_are():
    prior = made(standardise=False)
    assert torch.equal(prior.mean_out, torch.zeros(8))
    assert torch.equal(prior.scale_in, torch.ones(6))
    DiffusionPrior(6, 8, standardise=False, **SMALL).loss(torch.zeros(2, 6), torch.zeros(2, 8))  # needs no statistics


@pytest.mark.parametrize("rule", ["sample", "batch"])
def test_conditions_are_dropped_by_the_rule(rule, monkeypatch):
    prior = made(condition_drop=0.25, drop_rule=rule).train()
    kept = []
    monkeypatch.setattr(prior, "error", lambda c, x, noise, t, keep: kept.append(keep))
    draws = generator()
    for _ in range(400):
        prior.loss(torch.zeros(10, 6), torch.zeros(10, 8), draws)
    kept = torch.stack(kept).float()
    assert kept.shape == (400, 10)
    assert abs(float(kept.mean()) - 0.75) < 0.08
    whole = ((kept == kept[:, :1]).all(1)).float().mean()
    assert whole == 1 if rule == "batch" else whole < 0.2


def test_training_draws_every_timestep_and_the_generator_decides(monkeypatch):
    prior = made(dropout=0.0).train()
    c, x = torch.randn(5, 6), torch.randn(5, 8)
    assert prior.loss(c, x, generator(1)) == prior.loss(c, x, generator(1)) != prior.loss(c, x, generator(2))
    times = []
    monkeypatch.setattr(prior, "error", lambda c, x, noise, t, keep: times.append(t))
    prior.loss(torch.zeros(20_000, 6), torch.zeros(20_000, 8), generator())
    assert len(times[0].unique()) == 1000
    assert abs(float(times[0].float().mean()) - 499.5) < 10


def test_validation_is_the_same_in_every_call_and_drops_nothing(monkeypatch):
    prior = made(condition_drop=0.9, dropout=0.5)
    c, x = torch.randn(40, 6), torch.randn(40, 8)
    assert prior.loss(c, x) == prior.loss(c, x)
    seen = []
    monkeypatch.setattr(prior, "error", lambda c, x, noise, t, keep: seen.append((t, keep)))
    prior.loss(c, x)
    times, keep = seen[0]
    assert keep is None
    assert torch.equal(times.sort().values, (torch.arange(40) * 25 + 12.5).long())


@pytest.mark.parametrize("network", NETWORKS)
def test_every_weight_is_trained(network):
    prior = made(network=network, widths=[16, 16], condition_drop=0.0).train()
    prior.loss(torch.randn(64, 6), torch.randn(64, 8), generator()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in prior.parameters())


@torch.inference_mode()
@pytest.mark.parametrize("predicts", PREDICTS)
def test_the_loss_is_of_what_is_predicted(predicts):
    prior = made(predicts=predicts, standardise=False)
    x, noise, c = torch.randn(4, 8), torch.randn(4, 8), torch.randn(4, 6)
    t = torch.tensor([0, 300, 700, 999])
    a = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)[t][:, None]
    wanted = noise if predicts == "epsilon" else a.sqrt() * noise - (1 - a).sqrt() * x
    got = prior.network(a.sqrt() * x + (1 - a).sqrt() * noise, t, c)
    torch.testing.assert_close(prior.error(c, x, noise, t), (got - wanted).square().mean())


def test_default_widths_are_the_published_ones_scaled():
    assert default_widths("unet", 1024) == (1024, 512, 256, 128, 64)
    assert default_widths("mlp", 1024) == (1024, 1024, 1024, 1024)
    assert default_widths("unet", 768) == (768, 384, 192, 96, 64)
    assert default_widths("unet", 128) == (256, 128, 64, 64, 64)  # a level of 8 would hold no embedding
    assert default_widths("mlp", 128) == (256, 256, 256, 256)
    prior = build("prior", "diffusion", n_inputs=12, n_outputs=128)
    assert prior.network.time_dim == 64
    json.dumps({"widths": default_widths("unet", 128)})


def test_clipping_is_of_raw_targets():
    prior = DiffusionPrior.published(6, 8, **SMALL).eval()
    assert (prior(torch.randn(5, 6)).abs() <= 1).all()
    prior.clip_sample = False
    assert (prior(torch.randn(5, 6)).abs() > 1).any()


@pytest.mark.skipif(not FEATURES.is_file(), reason=f"the published embeddings are not at {FEATURES}")
def test_the_published_clip_cannot_reach_the_published_targets():
    features = torch.tensor(read_torch(FEATURES))
    clipped = features.clamp(-1, 1)
    assert float((features.abs() > 1).float().mean()) == pytest.approx(0.083, abs=5e-4)
    assert float(features.norm(dim=1).mean()) == pytest.approx(22.4, abs=0.05)
    assert float(clipped.norm(dim=1).mean()) == pytest.approx(16.6, abs=0.05)
    assert float(torch.cosine_similarity(features, clipped).mean()) == pytest.approx(0.863, abs=5e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"network": "unett"}, "did you mean 'unet'"),
        ({"sampler": "ddpn"}, "did you mean"),
        ({"predicts": "epsilom"}, "did you mean 'epsilon'"),
        ({"drop_rule": "batches"}, "did you mean 'batch'"),
        ({"steps": 0}, "give 1 to 1000"),
        ({"condition_drop": 1.0}, "not including"),
        ({"batch_size": 0}, "give 1 or more"),
        ({"widths": [8]}, "two or more"),
        ({"widths": [8, 0]}, "lengths above 0"),
        ({"time_dim": 7}, "even time_dim"),
        ({"network": "mlp", "widths": [8, 4]}, "equally wide"),
        ({"clip_sample": True}, "standardise: false"),
        ({"clip_sample": True, "standardise": False, "sampler": "unipc"}, "cannot clip"),
    ],
)
def test_what_cannot_be_built_is_refused(arguments, message):
    with pytest.raises(PhospheneError, match=message):
        DiffusionPrior(6, 8, **arguments)


def test_guidance_keeps_the_length_of_real_embeddings():
    prior = made(guidance=8.0, steps=4)
    condition = torch.randn(30, 6, generator=generator())
    kept = (prior(condition) - prior.mean_out) / prior.scale_out
    prior.keep_norm = False
    free = (prior(condition) - prior.mean_out) / prior.scale_out
    assert (free.norm(dim=1) > 8**0.5).any()
    wanted = free * (8**0.5 / free.norm(dim=1, keepdim=True)).clamp(max=1)
    torch.testing.assert_close(kept, wanted, rtol=1e-4, atol=1e-4)
    prior.guidance, prior.keep_norm = 1.0, True  # what was learned is left as it is
    drawn = prior(condition)
    prior.keep_norm = False
    torch.testing.assert_close(prior(condition), drawn)


def test_what_does_not_fit_is_refused():
    prior = made(steps=2)
    with pytest.raises(PhospheneError, match=r"condition of shape \(2, 5\): this prior was built for \(batch, 6\)"):
        prior(torch.zeros(2, 5))
    with pytest.raises(PhospheneError, match="target of shape"):
        prior.loss(torch.zeros(2, 6), torch.zeros(2, 9))
    with pytest.raises(PhospheneError, match="1 numbers for 2 conditions"):
        prior(torch.zeros(2, 6), numbers=[0])
    with pytest.raises(PhospheneError, match="give 0 or more"):
        prior(torch.zeros(2, 6), seed=-1)
    with pytest.raises(PhospheneError, match="2 training samples"):
        prior.observe(torch.zeros(1, 8), torch.zeros(1, 6))
    with pytest.raises(PhospheneError, match="targets of shape"):
        prior.observe(torch.zeros(3, 6), torch.zeros(3, 6))


@pytest.mark.parametrize("predicts", PREDICTS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_ends_at_the_embedding_of_a_perfect_prediction(sampler, predicts):
    truth = torch.randn(3, 8, generator=generator())
    scheduler = scheduler_of(sampler, 20, predicts=predicts)
    alphas = scheduler_of("ddpm", 1000).alphas_cumprod

    def perfect(x, step):
        a = alphas[int(scheduler.timesteps[step])]
        noise = (x - a.sqrt() * truth) / (1 - a).sqrt()
        return noise if predicts == "epsilon" else a.sqrt() * noise - (1 - a).sqrt() * truth

    start = torch.randn(3, 8, generator=generator(1))
    torch.testing.assert_close(
        denoise(perfect, scheduler, start, row_generators(0, range(3))), truth, atol=0.03, rtol=0
    )
