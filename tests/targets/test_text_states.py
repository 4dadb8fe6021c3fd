"""Text states are those that the pipeline's U-Net reads; without the mask, a token also sees what comes after it."""

import pandas as pd
import pytest
import torch

from phosphene.backbones.table import load_pipeline
from phosphene.errors import PhospheneError
from phosphene.targets.text_states import TextStates

CAPTIONS = ["a red car", "a red cat in the snow", "a red car"]


def stimuli(captions=CAPTIONS):
    return pd.DataFrame({"ObjectSnap": captions, "concept": ["car", "cat", "car"]}, index=["a", "b", "c"])


def test_states_are_those_that_the_pipeline_gives_its_unet(tmp_path):
    table = TextStates().table(stimuli(), tmp_path)
    states, _ = load_pipeline("mini").encode_prompt(CAPTIONS, "cpu", 1, False)
    assert table.vectors.shape == (3, 77, 128)
    torch.testing.assert_close(table.vectors, states)


def test_without_the_mask_early_tokens_see_later_ones():
    masked, free = (TextStates(which=which).states(CAPTIONS[:2]) for which in ("conditioning", "unmasked"))
    # both begin with "a red": masked, their states are equal so far
    torch.testing.assert_close(masked[0, :3], masked[1, :3])
    assert float((free[0, :3] - free[1, :3]).abs().max()) > 1e-2


def test_a_template_says_the_concept(tmp_path):
    by_concept = TextStates("concept", "a photo of a {}").table(stimuli(), tmp_path)
    torch.testing.assert_close(by_concept.vectors[:1], TextStates().states(["a photo of a car"]))


def test_what_does_not_fit_is_refused():
    with pytest.raises(PhospheneError, match="no caption column 'ObjectSnip'"):
        TextStates("ObjectSnip").embed(stimuli())
    with pytest.raises(PhospheneError, match="unknown states 'masked'"):
        TextStates(which="masked")
    with pytest.raises(PhospheneError, match="unknown diffusion backbone"):
        TextStates(backbone="clip-vit-h14")
