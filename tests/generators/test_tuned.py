"""The tuned U-Net: what trains, what it reads, and that all else stays."""

import copy

import pytest
import torch
import torch.distributed as dist
from diffusers import UNet2DConditionModel
from torch import nn

from backbones.published import build, published
from conftest import ROUNDING, golden, off
from golden import fill
from phosphene.backbones.table import load_pipeline
from phosphene.errors import PhospheneError
from phosphene.generators.tuned import CROSS_ATTENTION, SplitAttention, TunedUNet


def tiny(**changes):
    """A stock U-Net of a few thousand random weights, two cross-attentions."""
    options = {
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D"),
        "cross_attention_dim": 24,
        "attention_head_dim": 2,
        "norm_num_groups": 8,
        **changes,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet2DConditionModel(**options)


@pytest.fixture(scope="module")
def sd21():
    return build(published("sd21")["parts"]["unet"])


@pytest.fixture(scope="module")
def mini():
    return load_pipeline("mini").unet


def batch(net, n=2, n_tokens=5, seed=0, size=8):
    """Noisy latents, times, latents of EEG."""
    draw = torch.Generator().manual_seed(seed)
    noisy = torch.randn(n, net.unet.config.in_channels, size, size, generator=draw)
    return noisy, torch.full((n,), 500), torch.randn(n, n_tokens, net.dim, generator=draw)


def count(tensors):
    return sum(t.numel() for t in tensors)


def test_sd21_trains_the_published_parameters(sd21):
    net = TunedUNet(sd21)
    state, names = net.state_dict(), [name for name, _ in net.tuned.named_parameters()]
    own = [name for name in names if "_ip" not in name]
    published_own = {name for name, _ in sd21.named_parameters() if any(p in name for p in ("attn2", "time", "norm2"))}
    assert set(own) == published_own
    assert len(own) == 204
    added = {f"tuned.{name}" for name in names} - {f"tuned.{name}" for name in own}
    places = [
        f"{b}_blocks.{i}.attentions.{j}"
        for b, blocks, n in (("down", (0, 1, 2), 2), ("up", (1, 2, 3), 3))
        for i in blocks
        for j in range(n)
    ] + ["mid_block.attentions.0"]
    assert added == {
        f"tuned.{place}.transformer_blocks.0.attn2.processor.to_{which}_ip.weight" for place in places for which in "kv"
    }
    assert count(state[f"tuned.{name}"] for name in own) == 78_293_120
    assert count(state[name] for name in added) == 25_559_040
    assert {name: tuple(value.shape) for name, value in net.adapter.state_dict().items()} == {
        "0.weight": (4096, 1024),
        "0.bias": (4096,),
        "2.weight": (1024,),
        "2.bias": (1024,),
    }
    assert count(net.parameters()) == count(state.values()) == 108_052_608
    whole = list(net.unet.parameters())
    assert count(whole) == 865_910_724 + 25_559_040
    assert count(p for p in whole if not p.requires_grad) == 787_617_604
    noisy = torch.zeros(2, 4, 64, 64, device="meta")
    latent = torch.zeros(2, 77, 1024, device="meta")
    assert net.tokens(latent).shape == (2, 81, 1024)
    assert net(noisy, torch.zeros(2, device="meta"), latent).shape == noisy.shape


@pytest.mark.parametrize(
    ("name", "whole", "narrow"), [("sd21", 108_052_608, 80_136_768), ("sd15", 93_436_544, 65_520_704)]
)
def test_other_choices_of_what_trains(name, whole, narrow):
    unet = build(published(name)["parts"]["unet"])
    assert count(TunedUNet(unet).parameters()) == whole
    assert count(TunedUNet(unet, trainable=CROSS_ATTENTION).parameters()) == narrow
    dim, cross = unet.config.cross_attention_dim, sum(p.numel() for n, p in unet.named_parameters() if "attn2" in n)
    assert count(TunedUNet(unet, n_adapter=0, trainable=["attn2"]).parameters()) == cross
    more = count(TunedUNet(unet, n_adapter=6).parameters()) - count(TunedUNet(unet).parameters())
    assert more == 2 * dim * (dim + 1)


def test_golden_adapter_and_attention():
    facts, expected = golden("synapse_adapter_attention")
    unet = tiny(
        block_out_channels=(320,),
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("UpBlock2D",),
        mid_block_type=None,
        cross_attention_dim=1024,
        attention_head_dim=5,
    )
    net = TunedUNet(unet)
    block = net.unet.down_blocks[0].attentions[0].transformer_blocks[0]
    parts = nn.ModuleDict({"ip_adaption": net.adapter, "attn2": block.attn2, "attn1": block.attn1})
    fill.load(parts, 0).double()
    assert count(parts.parameters()) == facts["parameters"]
    hidden, latent = (torch.from_numpy(fill.inputs(**facts["inputs"][n])).double() for n in ("hidden", "eeg_tokens"))

    def near(got, name):
        assert got.shape == expected[name].shape
        assert off(got, expected[name]) <= ROUNDING, name

    with torch.inference_mode():
        tokens, nothing = net.tokens(latent), net.tokens(torch.zeros_like(latent))
        torch.testing.assert_close(tokens[:, :77], latent, rtol=0, atol=0)
        near(tokens[:, 77:], "adapter_tokens")
        near(nothing[:, 77:], "adapter_tokens_zero_condition")
        near(block.attn2(hidden, tokens), "cross_attention")
        near(block.attn2(hidden, nothing), "cross_attention_zero_condition")
        near(block.attn1(hidden), "self_attention")
        block.attn2.processor.scale = 0
        near(block.attn2(hidden, tokens), "cross_attention_ip_scale_0")


@torch.inference_mode()
def test_it_begins_as_the_stock_unet_of_the_same_states(mini):
    """Keys and values of the adapter start as the layer's own; without them the stock U-Net is left."""
    noisy, time, latent = batch(TunedUNet(mini), size=16)
    stock = mini(noisy, time, latent).sample
    torch.testing.assert_close(TunedUNet(mini, n_adapter=0)(noisy, time, latent), stock, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(TunedUNet(mini, scale=0)(noisy, time, latent), stock, rtol=1e-4, atol=1e-4)
    net = TunedUNet(mini)
    assert not torch.allclose(net(noisy, time, latent), stock, atol=1e-2)
    for layer in net.unet.modules():
        if isinstance(getattr(layer, "processor", None), SplitAttention):
            assert torch.equal(layer.processor.to_k_ip.weight, layer.to_k.weight)
            assert torch.equal(layer.processor.to_v_ip.weight, layer.to_v.weight)


@pytest.mark.parametrize("n_adapter", [1, 3])
def test_the_number_of_tokens_is_an_argument(n_adapter):
    net = TunedUNet(tiny(), n_adapter=n_adapter)
    noisy, time, latent = batch(net)
    assert net.tokens(latent).shape == (2, 5 + n_adapter, 24)
    made = net(noisy, time, latent)
    cut = net.tokens(latent)
    cut[:, -n_adapter] += 1  # the first of the adapter's tokens: read by its own keys and values
    for layer in net.unet.modules():
        if isinstance(getattr(layer, "processor", None), SplitAttention):
            nn.init.zeros_(layer.processor.to_v_ip.weight)
    torch.testing.assert_close(net.unet(noisy, time, cut).sample, net(noisy, time, latent))
    assert not torch.allclose(made, net(noisy, time, latent), atol=1e-5)


def step(net, seed=0, lr=1e-2):
    noisy, time, latent = batch(net, seed=seed)
    loss = net(noisy, time, latent).square().mean()
    net.zero_grad()
    loss.backward()
    torch.optim.AdamW(net.parameters(), lr).step()


def test_only_what_is_registered_changes():
    source = tiny(dropout=0.3)
    first = copy.deepcopy(source.state_dict())
    net = TunedUNet(source).train()
    before = copy.deepcopy(net.unet.state_dict())
    assert not any(module.training for module in net.unet.modules())
    for seed in range(3):
        step(net, seed)
    after, tuned = net.unet.state_dict(), {name for name, _ in net.tuned.named_parameters()}
    assert {name for name in after if not torch.equal(after[name], before[name])} == tuned
    assert all(torch.equal(after[name], net.state_dict()[f"tuned.{name}"]) for name in tuned)
    frozen = [p for name, p in net.unet.named_parameters() if name not in tuned]
    assert frozen
    assert not any(p.requires_grad or p.grad is not None for p in frozen)
    assert not any(module.training for module in net.unet.modules())
    assert all(torch.equal(source.state_dict()[name], first[name]) for name in first)  # the U-Net that was given


def test_gradients_are_the_same_with_checkpointing():
    grads = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        net = TunedUNet(tiny(), checkpointing=checkpointing).train()
        assert net.unet.is_gradient_checkpointing == checkpointing
        noisy, time, latent = batch(net)
        net(noisy, time, latent).square().mean().backward()
        grads.append({name: p.grad for name, p in net.named_parameters()})
    for name, grad in grads[0].items():
        assert float(grad.abs().sum()) > 0, name
        torch.testing.assert_close(grads[1][name], grad, rtol=1e-5, atol=1e-8)


def test_moves_loads_and_copies_keep_the_unet_and_its_parameters_together():
    net = TunedUNet(tiny())
    noisy, time, latent = batch(net)
    other = copy.deepcopy(net)
    step(other)
    assert not torch.allclose(other(noisy, time, latent), net(noisy, time, latent))
    for assign in (False, True):
        again = TunedUNet(tiny())
        again.load_state_dict(other.state_dict(), assign=assign)
        torch.testing.assert_close(again(noisy, time, latent), other(noisy, time, latent), rtol=0, atol=0)
        step(again)
        assert all(p is again.unet.get_parameter(name) for name, p in again.tuned.named_parameters())
    net.double()
    assert {p.dtype for p in net.unet.parameters()} == {torch.float64}
    assert net(noisy.double(), time, latent).dtype == torch.float64
    net.to("meta")
    assert {p.device.type for p in net.unet.parameters()} == {"meta"}
    assert all(p is net.unet.get_parameter(name) for name, p in net.tuned.named_parameters())


def test_bfloat16_trains_the_same_parameters():
    net = TunedUNet(tiny(), checkpointing=True).train()
    noisy, time, latent = batch(net)
    with torch.autocast("cpu", torch.bfloat16):
        net(noisy, time, latent).float().square().mean().backward()
    assert {p.dtype for p in net.parameters()} == {p.grad.dtype for p in net.parameters()} == {torch.float32}


def test_processes_share_what_is_registered(tmp_path):
    dist.init_process_group("gloo", init_method=(tmp_path / "shared").as_uri(), rank=0, world_size=1)
    try:
        net = TunedUNet(tiny(), checkpointing=True).train()
        noisy, time, latent = batch(net)
        net(noisy, time, latent).square().mean().backward()
        alone = {name: p.grad.clone() for name, p in net.named_parameters()}
        net.zero_grad()
        wrapped = nn.parallel.DistributedDataParallel(net)
        wrapped(noisy, time, latent).square().mean().backward()
        assert {key.removeprefix("module.") for key in wrapped.state_dict()} == alone.keys()
        for name, p in net.named_parameters():
            torch.testing.assert_close(p.grad, alone[name], rtol=1e-5, atol=1e-8)
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_adapter": -1}, "n_adapter is -1: give"),
        ({"trainable": ["nothing"], "n_adapter": 0}, "no parameter of the U-Net is named like"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, message):
    with pytest.raises(PhospheneError, match=message):
        TunedUNet(tiny(), **options)


def test_what_cannot_be_tuned_or_read_is_refused():
    with pytest.raises(PhospheneError, match="reads text states alone"):
        TunedUNet(build(published("sdxl-turbo")["parts"]["unet"]))
    net = TunedUNet(tiny())
    for shape in ((5, 24), (2, 5, 23), (2, 0, 24)):
        with pytest.raises(PhospheneError, match=r"give \(batch, n_tokens, 24\)"):
            net.tokens(torch.zeros(shape))
    noisy, time, latent = batch(net)
    with pytest.raises(PhospheneError, match="take no mask"):
        net.unet(noisy, time, net.tokens(latent), encoder_attention_mask=torch.ones(2, 9))
