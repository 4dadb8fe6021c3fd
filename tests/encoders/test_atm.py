"""ATM against the published implementations, and what it adds to them."""

import json

import pytest
import torch

from conftest import GOLDEN, ROUNDING, golden, off
from golden import fill
from phosphene.errors import PhospheneError
from phosphene.registry import build

TABLE = {"shared_rule": "batch", "unused": 2}
CASES = {
    "atm_v1": {"family": "time", "positional_embedding": True, "unused": 0},
    "atm_v1_reconstruction": {
        "family": "time",
        "positional_embedding": True,
        "unused": 0,
        "kernel": 5,
        "pool": 17,
        "stride": 5,
    },
    "atms_v2": {**TABLE, "n_subjects": 10, "token_slice": "legacy"},
    "atms_v2_pe": {**TABLE, "n_subjects": 10, "token_slice": "legacy", "positional_embedding": True},
    "atms_v3": {**TABLE, "n_subjects": 2, "positional_embedding": True},
    "atms_v3_joint": {**TABLE, "n_subjects": 10, "positional_embedding": True, "joint": True, "unused": 10},
    "atms_v3_nope": {**TABLE, "n_subjects": 2},
    "atms_v3_nope10": {**TABLE, "n_subjects": 10, "unused": 10},
}
SHAPE = {"n_chans": 63, "n_times": 250, "n_outputs": 1024}
EEG = torch.from_numpy(fill.inputs((4, 63, 250), 10001))


def published(case):
    """Key -> shape of a published state dict."""
    lines = (GOLDEN / "keys" / f"{case}.tsv").read_text().splitlines()[1:]
    return {key: tuple(json.loads(shape)) for key, shape, _ in (line.split("\t") for line in lines)}


@pytest.mark.parametrize("case", CASES)
def test_names_counts_and_outputs_are_the_published_ones(case):
    facts, expected = golden(case)
    assert facts["inputs"]["eeg"] == {"shape": [4, 63, 250], "seed": 10001}
    encoder = build("encoder", "atm", **SHAPE, **CASES[case])
    shapes = {key: tuple(value.shape) for key, value in encoder.state_dict().items()}
    assert {**shapes, "logit_scale": ()} == published(case)
    assert sum(p.numel() for p in encoder.parameters()) + 1 == facts["parameters"]
    fill.load(encoder, facts["weight_seed"]).double()
    assert set(expected) == set(facts["outputs"])
    with torch.inference_mode():
        for output, want in expected.items():
            ids = facts.get("subject_ids", {}).get(output)
            assert off(encoder(EEG.double(), None if ids is None else torch.tensor(ids)), want) <= ROUNDING


@pytest.mark.parametrize("case", CASES)
def test_nothing_that_is_read_is_among_the_unused(case):
    """Without the unused parameters every number is the same, and every parameter left has a gradient."""
    facts, expected = golden(case)
    encoder = fill.load(
        build("encoder", "atm", **SHAPE, **{**CASES[case], "unused": None}), facts["weight_seed"]
    ).double()
    output = next(iter(expected))
    ids = facts.get("subject_ids", {}).get(output)
    subject = None if ids is None else torch.tensor(ids)
    with torch.inference_mode():
        assert off(encoder(EEG.double(), subject), expected[output]) <= ROUNDING
    encoder.train()(EEG.double(), subject).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


def small(**arguments):
    torch.manual_seed(0)
    return build("encoder", "atm", n_chans=5, n_times=100, n_outputs=12, **arguments).eval()


def test_a_subject_out_of_the_table_gets_the_shared_token_alone():
    eeg, one = torch.randn(4, 5, 100), small(n_subjects=3)
    batch = small(n_subjects=3, shared_rule="batch")
    batch.load_state_dict(one.state_dict())
    mixed = one(eeg, torch.tensor([0, 7, 2, -1]))
    shared = one(eeg)
    torch.testing.assert_close(mixed[[1, 3]], shared[[1, 3]])
    torch.testing.assert_close(mixed[[0, 2]], one(eeg[[0, 2]], torch.tensor([0, 2])))
    assert not torch.allclose(mixed[0], shared[0])
    torch.testing.assert_close(batch(eeg, torch.tensor([0, 7, 2, -1])), batch(eeg))
    torch.testing.assert_close(batch(eeg[[0, 2]], torch.tensor([0, 2])), mixed[[0, 2]])


@pytest.mark.parametrize("family", ["channel", "time"])
def test_joint_maps_are_each_subjects_own_and_their_mean_for_a_stranger(family):
    encoder, eeg = small(n_subjects=3, joint=True, family=family), torch.randn(4, 5, 100)
    maps = encoder.encoder.enc_embedding.value_embedding if family == "channel" else encoder.subject_wise_linear
    before = encoder(eeg, torch.tensor([0, 1, 2, 9])).detach()
    torch.testing.assert_close(encoder(eeg[3:], torch.tensor([-1])), before[3:])
    torch.testing.assert_close(encoder(eeg)[3:], before[3:])
    with torch.no_grad():
        weight, bias = sum(m.weight for m in maps) / 3, sum(m.bias for m in maps) / 3
        for m in maps:
            m.weight.copy_(weight)
            m.bias.copy_(bias)
        if family == "channel":  # their tokens still differ
            encoder.encoder.enc_embedding.subject_embedding.subject_embedding.weight.copy_(
                encoder.encoder.enc_embedding.subject_embedding.shared_embedding.expand(3, -1)
            )
    after = encoder(eeg, torch.tensor([0, 1, 2, 9])).detach()
    torch.testing.assert_close(after, encoder(eeg).detach())
    torch.testing.assert_close(after[3:], before[3:])
    assert all(not torch.allclose(a, b, atol=1e-4) for a, b in zip(after[:3], before[:3], strict=True))


def test_the_legacy_slice_reads_the_subject_and_not_the_last_channel():
    fixed, eeg = small(n_subjects=2), torch.randn(2, 5, 100)
    legacy = small(n_subjects=2, token_slice="legacy")
    legacy.load_state_dict(fixed.state_dict())
    attended, late = fixed.encoder(eeg, None), legacy.encoder(eeg, None)
    torch.testing.assert_close(late[:, 1:], attended[:, :-1])
    assert not torch.allclose(late, attended)


def test_positions_break_the_symmetry_of_channels():
    eeg, order = torch.randn(2, 5, 100), torch.tensor([3, 1, 0, 4, 2])
    for positional in (False, True):
        tokens = small(positional_embedding=positional).encoder
        same = torch.allclose(tokens(eeg, None)[:, order], tokens(eeg[:, order], None), atol=1e-5)
        assert same is not positional


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(PhospheneError, match="joint needs a map for each subject"):
        small(joint=True)
    with pytest.raises(PhospheneError, match="no subject token: give joint=True"):
        small(family="time", n_subjects=2)
    with pytest.raises(PhospheneError, match="200 heads do not fit tokens of width 100"):
        small(n_heads=200)
    with pytest.raises(PhospheneError, match="3 heads do not fit tokens of width 5"):
        small(family="time", n_heads=3)
    with pytest.raises(PhospheneError, match="family"):
        small(family="both")
    with pytest.raises(PhospheneError, match="was built for"):
        small()(torch.zeros(1, 4, 100))
