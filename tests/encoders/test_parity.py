"""The encoders against outputs of the published implementations under deterministic weights."""

import pytest
import torch

from conftest import ROUNDING, golden, off
from golden import fill
from phosphene.errors import PhospheneError
from phosphene.registry import build

CASES = {
    "nice_original": ("nice", 63, 768, 0),
    "nice_atm": ("nice", 63, 1024, 1),
    "ubp_eegproject_63": ("projection", 63, 1024, 1),
    "ubp_eegproject_17": ("projection", 17, 1024, 1),
}


@pytest.mark.parametrize("case", CASES)
def test_parity(case):
    name, n_chans, n_outputs, scale = CASES[case]
    facts, expected = golden(case)
    encoder = build("encoder", name, n_chans=n_chans, n_times=250, n_outputs=n_outputs)
    # where the published count includes a logit scale, ours belongs to the method
    assert sum(p.numel() for p in encoder.parameters()) + scale == facts["parameters"]
    fill.load(encoder, facts["weight_seed"]).double()
    eeg = torch.from_numpy(fill.inputs(facts["inputs"]["eeg"]["shape"], facts["inputs"]["eeg"]["seed"]))
    with torch.inference_mode():
        got = encoder(eeg.reshape(4, n_chans, 250).double())
    assert off(got, expected["embedding"]) <= ROUNDING


def test_other_shapes_are_refused():
    encoder = build("encoder", "projection", n_chans=4, n_times=20, n_outputs=8)
    with pytest.raises(PhospheneError, match=r"built for \(batch, 4, 20\) and was given \(2, 4, 21\)"):
        encoder(torch.zeros(2, 4, 21))
    with pytest.raises(PhospheneError, match="20 samples are too few"):
        build("encoder", "nice", n_chans=4, n_times=20, n_outputs=8)
