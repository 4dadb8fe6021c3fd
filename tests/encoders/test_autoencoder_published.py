"""Checkpoints of SYNAPSE's first stage: what is read from them, taken for granted, and refused."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from phosphene.checkpoints.synapse import from_published_synapse
from phosphene.encoders.autoencoder import Autoencoder
from phosphene.errors import PhospheneError

SIZES = {"n_chans": 9, "n_times": 20, "n_tokens": 7, "dim": 64, "widths": [64, 128], "tokens": [9, 5]}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Autoencoder(**SIZES).eval()


def saved(path, content):
    torch.save(content, path)
    return path


def test_a_training_file_is_read_whole(tmp_path, model):
    optimiser = torch.optim.AdamW(model.parameters(), 1e-4)
    sum(p.sum() for p in model.parameters()).backward()
    optimiser.step()
    path = saved(tmp_path / "AE.pth", {"net": model.state_dict(), "optim": optimiser.state_dict()})
    read = from_published_synapse(path)
    eeg = torch.randn(2, 9, 20)
    for mine, theirs in zip(read.autoencoder(eeg), model(eeg), strict=True):
        assert torch.equal(mine, theirs)
    assert read.autoencoder.Encoder is read.encoder
    assert read.config == SIZES | {"n_layer": 2, "n_heads": 64, "groups": 32, "global_attention": True}
    assert Autoencoder(**read.config).state_dict().keys() == model.state_dict().keys()
    assert [says.split(":")[0] for says in read.says] == [
        "Autoencoder",
        "Ignored beside the weights",
        "No file says n_heads, and a wrong one loads as well",
        "No file says groups, and a wrong one loads as well",
    ]
    assert "n_layer 2" in read.says[0]
    assert "64 is taken for granted" in read.says[2]
    assert all(p.requires_grad for p in read.encoder.parameters())


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("more", [{}, {"n_layer": 1, "global_attention": False}, {"n_layer": 3}])
def test_an_exported_encoder_is_read_alone(tmp_path, suffix, more):
    torch.manual_seed(0)
    encoder = Autoencoder(**SIZES, **more).eval().Encoder
    path, state = tmp_path / f"encoder{suffix}", encoder.state_dict()
    if suffix == ".pth":
        saved(path, {"net": {f"module.{key}": value for key, value in state.items()}})
    else:
        save_file(state, path)
    read = from_published_synapse(path)
    eeg = torch.randn(2, 9, 20)
    assert read.autoencoder is None
    assert not read.encoder.training
    assert torch.equal(read.encoder(eeg), encoder(eeg))
    assert read.config | more == read.config
    assert read.says[0].startswith("Encoder alone: n_chans 9, n_times 20, n_tokens 7, dim 64, widths [64, 128]")


def test_heads_load_silently_and_decode_something_else(tmp_path, model):
    """Why the report speaks of them."""
    path, eeg = saved(tmp_path / "AE.pth", {"net": model.state_dict()}), torch.randn(2, 9, 20)
    read = from_published_synapse(path, n_heads=16, dropout=0.1)
    assert read.config["n_heads"] == 16
    assert not any("n_heads, and a wrong one" in says for says in read.says)
    assert not torch.allclose(read.encoder(eeg), model.Encoder(eeg), atol=1e-3)
    with pytest.raises(PhospheneError, match="n_layer, widths is read from the file: give n_heads, groups or dropout"):
        from_published_synapse(path, n_layer=2, widths=[64])
    with pytest.raises(PhospheneError, match=r"AE.pth: widths \(64, 128\) and dim 64: give .* n_heads \(5"):
        from_published_synapse(path, n_heads=5)
    with pytest.raises(PhospheneError, match="autoencoder: n_heads: Input should be a valid integer"):
        from_published_synapse(path, n_heads="many")


def test_half_precision_becomes_single(tmp_path, model):
    path = saved(tmp_path / "half.pth", {"net": model.half().state_dict()})
    read = from_published_synapse(path)
    assert {p.dtype for p in read.encoder.parameters()} == {torch.float32}
    assert torch.equal(read.encoder.in_layer.conv.weight, model.Encoder.in_layer.conv.weight.float())


class Code:
    def __reduce__(self):
        return (exec, ("raise SystemExit('it ran')",))


def test_what_is_no_such_checkpoint_is_refused(tmp_path, model):
    state = model.state_dict()
    some = "Encoder.main_flow.0.0.norm2.weight"
    tall = "Encoder.posEmbed.0"
    for wrong, message in (
        ({key: value for key, value in state.items() if key != some}, f"lacks '{some}': check which file"),
        (state | {"Decoder.more": torch.zeros(1)}, "holds the unknown 'Decoder.more': check which file"),
        (state | {some: torch.zeros(3)}, rf"'{some}' is \(3,\), not \(64,\)"),
        (state | {tall: torch.zeros(1, 2**14 * 64, 9)}, "'Decoder.|'Encoder."),  # would be terabytes of weights
        (state | {some: torch.full((64,), torch.nan)}, "values that are not finite"),
        (state | {some: [1.0]}, "is not a tensor"),
        ({"weight": torch.zeros(2)}, r"not a SYNAPSE autoencoder \('?posEmbed.0 is missing"),
        (state | {tall: torch.zeros(9)}, "posEmbed.0 has 1 axes"),
        ({}, "no state dict"),
        ([1], "no state dict"),
    ):
        with pytest.raises(PhospheneError, match=message) as caught:
            from_published_synapse(saved(tmp_path / "wrong.pth", wrong))
        assert "\n" not in str(caught.value)
    with pytest.raises(PhospheneError, match="SYNAPSE"):
        from_published_synapse(saved(tmp_path / "wrong.pth", {"net": {"Decoder.posEmbed.0": torch.zeros(1)}}))
    (tmp_path / "code.pth").write_bytes(pickle.dumps({"net": Code()}))
    for damaged in ("code.pth", "none.pth", "cut.safetensors"):
        if damaged == "cut.safetensors":
            (tmp_path / damaged).write_bytes(b"\x10\x00")
        with pytest.raises(PhospheneError):
            from_published_synapse(tmp_path / damaged)
