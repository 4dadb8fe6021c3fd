"""Tuned U-Nets in the published checkpoint layout."""

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from generators.test_tuned import batch, step, tiny
from phosphene.checkpoints.unet import from_published, write_published
from phosphene.errors import PhospheneError
from phosphene.generators.tuned import CROSS_ATTENTION, TunedUNet

FILE = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    made = TunedUNet(tiny(), n_adapter=3)
    for seed in range(2):
        step(made, seed)
    return made


@pytest.fixture
def folder(net, tmp_path):
    average = {name: value + 0.1 for name, value in net.state_dict().items()}
    write_published(net, tmp_path / "checkpoint-2", average)
    return tmp_path / "checkpoint-2"


def change(path, **changes):
    tensors = load_file(path)
    for name, value in changes.items():
        tensors.pop(name) if value is None else tensors.update({name: value})
    save_file(tensors, path)


def test_the_layout(net, folder):
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*.*")) == [
        "ema_unet/config.json",
        f"ema_unet/{FILE}",
        f"ip_adaption/{FILE}",
        "unet/config.json",
        f"unet/{FILE}",
    ]
    assert list(load_file(folder / "ip_adaption" / FILE)) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    own = load_file(folder / "unet" / FILE)
    place = "down_blocks.1.attentions.0.transformer_blocks.0.attn2"
    assert own.keys() - tiny().state_dict().keys() == {
        f"{place.replace('down_blocks.1', block)}.processor.to_{which}_ip.weight"
        for block in ("down_blocks.1", "mid_block")
        for which in "kv"
    }
    assert own[f"{place}.processor.to_k_ip.weight"].shape == (32, 24)
    assert json.loads((folder / "unet" / "config.json").read_text())["_class_name"] == "UNet2DConditionModel"


def test_what_was_written_is_read(net, folder):
    read = from_published(folder)
    assert read.says == []
    noisy, time, latent = batch(net)
    torch.testing.assert_close(read.unet(noisy, time, latent), net(noisy, time, latent), rtol=0, atol=0)
    assert read.unet.n_adapter == 3
    assert read.unet.state_dict().keys() == net.state_dict().keys()
    assert not any(p.is_meta for p in read.unet.unet.parameters())
    frozen = [p for p in read.unet.unet.parameters() if not p.requires_grad]
    before = [p.clone() for p in frozen]
    step(read.unet)
    assert all(torch.equal(a, b) for a, b in zip(frozen, before, strict=True))
    assert not torch.equal(read.unet(noisy, time, latent), net(noisy, time, latent))
    assert all(p is read.unet.unet.get_parameter(name) for name, p in read.unet.tuned.named_parameters())
    narrow = from_published(folder, trainable=CROSS_ATTENTION, checkpointing=True).unet
    assert len(narrow.state_dict()) < len(net.state_dict())
    torch.testing.assert_close(narrow(noisy, time, latent), net(noisy, time, latent), rtol=0, atol=0)


def test_the_average_is_of_the_unet_alone(net, folder):
    averaged, own = from_published(folder, ema=True).unet.state_dict(), net.state_dict()
    for name, value in own.items():
        torch.testing.assert_close(averaged[name], value + 0.1 if name.startswith("tuned.") else value)
    write_published(net, folder)
    assert not (folder / "ema_unet").exists()
    with pytest.raises(PhospheneError, match="config.json does not exist"):
        from_published(folder, ema=True)


def test_a_prefix_is_read_and_what_is_ignored_is_said(net, folder):
    path = folder / "ip_adaption" / FILE
    save_file({f"module.{name}": value for name, value in load_file(path).items()}, path)
    change(folder / "unet" / FILE, extra=torch.zeros(2))
    read = from_published(folder)
    assert read.says == ["unet: 1 tensors are not read, such as 'extra'"]
    assert torch.equal(read.unet.adapter[0].weight, net.adapter[0].weight)


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("unet", {"conv_in.bias": None}, "lacks 1 tensors, such as 'conv_in.bias'"),
        ("unet", {"conv_in.bias": torch.zeros(3)}, r"'conv_in.bias' has shape \(3,\), not \(16,\)"),
        ("ip_adaption", {"2.weight": None}, "lacks '2.weight'"),
        ("ip_adaption", {"0.bias": None}, "lacks 1 tensors, such as '0.bias'"),
        ("ip_adaption", {"0.weight": torch.zeros(70, 24)}, r"'0.weight' has shape \(70, 24\), not \(48, 24\)"),
        ("ip_adaption", {"2.weight": torch.zeros(0)}, "make no U-Net"),
    ],
)
def test_what_is_missing_or_of_another_shape_is_named(folder, part, changes, message):
    change(folder / part / FILE, **changes)
    with pytest.raises(PhospheneError, match=message):
        from_published(folder)


@pytest.mark.parametrize("name", ["unet", "ip_adaption"])
def test_pickles_and_damage_are_refused(folder, name, tmp_path):
    path = folder / name / FILE
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PhospheneError, match="not a readable safetensors file"):
        from_published(folder)
    path.write_bytes(pickle.dumps({"weight": print}))
    with pytest.raises(PhospheneError, match="not a readable safetensors file"):
        from_published(folder)
    path.rename(path.with_suffix(".bin"))
    with pytest.raises(PhospheneError, match=r"diffusion_pytorch_model.bin is a pickle and not read: give"):
        from_published(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_class_name": "Evil"}, "is not that of a UNet2DConditionModel"),
        ({"block_out_channels": [16, "x"]}, "make no U-Net"),
        ({"cross_attention_dim": 40}, "has shape"),
        ({"norm_num_groups": 7}, "make no U-Net"),
    ],
)
def test_other_configurations_are_refused(folder, changes, message):
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(PhospheneError, match=message):
        from_published(folder)


def test_what_has_no_layout_is_refused(net, tmp_path):
    with pytest.raises(PhospheneError, match="without an adapter"):
        write_published(TunedUNet(tiny(), n_adapter=0), tmp_path / "a")
    with pytest.raises(PhospheneError, match="the average lacks 'adapter.0.bias'"):
        write_published(net, tmp_path / "a", {})
    assert list(tmp_path.iterdir()) == []
