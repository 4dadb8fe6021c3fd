"""NaN and infinity are refused by whatever would draw, score or keep them, in one line that names the place."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from conftest import make_trials
from phosphene.errors import PhospheneError
from phosphene.generators.base import Conditioning, Generator
from phosphene.generators.diffusion import Diffusion
from phosphene.generators.nearest import Nearest
from phosphene.methods.base import in_batches
from phosphene.networks.caption_adapter import RidgeTokens, VisualTokens
from phosphene.priors.diffusion import DiffusionPrior
from phosphene.priors.ridge import RidgePrior
from phosphene.runs.decoded import keep_decoded
from phosphene.targets.base import Target
from phosphene.targets.latent import Latent
from phosphene.utils.finite import check_finite

NAN, INF = float("nan"), float("inf")


def spoilt(shape: tuple[int, ...], value: float, row: int = 1) -> torch.Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    x[row].view(-1)[-1] = value
    return x


class Blank(Generator):
    """Draws a black picture of anything."""

    accepts = frozenset({"prompt", "tokens", "negative_tokens", "image_embeds"})

    def __call__(self, conditioning, *, n=1, seed=0, numbers=None):
        self.check(conditioning)
        return [[Image.new("RGB", (4, 4))] * n for _ in range(len(conditioning))]


CONDITIONS = {
    "image_embeds": lambda value: {"image_embeds": spoilt((3, 8), value)},
    "image_embeds of half precision": lambda value: {"image_embeds": spoilt((3, 8), value).half()},
    "tokens": lambda value: {"tokens": spoilt((3, 2, 8), value)},
    "negative_tokens": lambda value: {"tokens": torch.zeros(3, 2, 8), "negative_tokens": spoilt((3, 2, 8), value)},
    "with prompts": lambda value: {"prompt": ["a", "b", "c"], "image_embeds": spoilt((3, 8), value)},
}


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("name", CONDITIONS)
def test_no_generator_draws_it(name, value):
    with pytest.raises(PhospheneError, match=r"of trial 1 holds NaN or infinity \(1 of 3 such\): look for NaN"):
        Blank()(Conditioning(**CONDITIONS[name](value)))


@pytest.mark.parametrize("name", ["image_embeds", "tokens", "negative_tokens"])
def test_a_conditioning_of_numpy_is_one_line(name):
    with pytest.raises(PhospheneError, match=f"^{name} is a ndarray: give a torch tensor"):
        Conditioning(**{"tokens": torch.zeros(3, 2, 8), name: torch.zeros(3, 2, 8).numpy()})


def test_each_generator_asks(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    paths, known = [str(tmp_path / "a.png")] * 2, torch.eye(2)
    assert len(Nearest(paths, known)(Conditioning(image_embeds=torch.ones(3, 2)))) == 3
    with pytest.raises(PhospheneError, match="image_embeds of trial 1"):
        Nearest(paths, known)(Conditioning(image_embeds=spoilt((3, 2), NAN)))
    with pytest.raises(PhospheneError, match=r"the embedding of picture \S*a.png holds NaN"):
        Nearest(paths, spoilt((2, 2), NAN))
    with pytest.raises(PhospheneError, match="image_embeds of trial 0"):
        Diffusion("mini")(Conditioning(prompt=["x"], image_embeds=torch.full((1, 128), NAN)))
    with pytest.raises(PhospheneError, match="tokens of trial 0"):
        Diffusion("mini")(Conditioning(tokens=torch.full((1, 77, 128), INF)))


@pytest.mark.parametrize("name", ["guidance", "adapter_scale"])
@pytest.mark.parametrize("value", [NAN, INF])
def test_settings_of_a_generator(name, value):
    with pytest.raises(PhospheneError, match=f"{name} is {value}: give a finite number"):
        Diffusion("mini", **{name: value})


def fitted() -> DiffusionPrior:
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
    return DiffusionPrior(4, 4, network="mlp", widths=[8], steps=2).observe(x, x)


PRIORS = {
    "diffusion": lambda x: fitted()(x),
    "diffusion, of conditions": lambda x: DiffusionPrior(4, 4, network="mlp", widths=[8]).observe(torch.ones(3, 4), x),
    "diffusion, of targets": lambda x: DiffusionPrior(4, 4, network="mlp", widths=[8]).observe(x, torch.ones(3, 4)),
    "ridge": lambda x: RidgePrior(4, 4)(x),
    "ridge, of inputs": lambda x: RidgePrior(4, 4).fit(x, torch.ones(3, 4)),
    "ridge, of targets": lambda x: RidgePrior(4, 4).fit(torch.ones(3, 4), x),
    "visual tokens": lambda x: VisualTokens(4, 2, 2)(x),
    "visual tokens, of pictures": lambda x: VisualTokens(4, 2, 2).fit(torch.ones(3, 4), x.reshape(3, 2, 2)),
    "visual tokens, of embeddings": lambda x: VisualTokens(4, 2, 2).fit(x, torch.ones(3, 2, 2)),
    "ridge of tokens, of embeddings": lambda x: RidgeTokens(4, 2, 2).fit(x, torch.ones(3, 2, 2)),
    "ridge of tokens, of pictures": lambda x: RidgeTokens(4, 2, 2).fit(torch.ones(3, 4), x.reshape(3, 2, 2)),
}


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize("name", PRIORS)
def test_no_prior_takes_it(name, value):
    PRIORS[name](torch.randn(3, 4, generator=torch.Generator().manual_seed(2)))
    with pytest.raises(PhospheneError, match=r"\b1 holds NaN or infinity \(1 of 3 such\)"):
        PRIORS[name](spoilt((3, 4), value))


class Spoilt(Target):
    """A frozen space in which the second stimulus has no place."""

    def config(self):
        return {}

    def content(self, stimuli):
        return [str(name) for name in stimuli.index]

    def embed(self, stimuli):
        return spoilt((len(stimuli), 3), NAN)


def test_a_target_names_the_picture(tmp_path):
    stimuli = pd.DataFrame({"image": ["a.png", "b.png"]}, index=["cup", "dog"])
    with pytest.raises(PhospheneError, match=r"the Spoilt target of stimulus 'dog' \(b.png\) holds NaN or infinity"):
        Spoilt().table(stimuli, tmp_path)
    assert list(tmp_path.rglob("*.safetensors")) == []
    with pytest.raises(PhospheneError, match="stimulus 'dog' holds"):
        Spoilt().table(stimuli.drop(columns="image"), tmp_path)


def test_a_start_of_nan_is_not_decoded():
    space = Latent("mini")
    with pytest.raises(PhospheneError, match="the latent of picture 1 holds NaN"):
        space.decode(spoilt((2, *space.shape), NAN))


def test_what_was_decoded_is_neither_kept_nor_scored(tmp_path):
    table = pd.DataFrame({"stimulus": ["a", "b"]})
    with pytest.raises(PhospheneError, match="head 'image' of test sample 1 holds NaN"):
        keep_decoded(tmp_path / "d", table, {"image": spoilt((2, 3), NAN)})
    with pytest.raises(PhospheneError, match="image_embeds of trial 1 holds NaN"):
        keep_decoded(tmp_path / "d", table, {"image": torch.ones(2, 3)}, Conditioning(image_embeds=spoilt((2, 3), INF)))
    assert list(tmp_path.iterdir()) == []


def test_eeg_of_nan_is_not_decoded():
    trials = make_trials()
    eeg = np.array(trials.eeg)
    eeg[4, 0, 0] = NAN
    assert sum(in_batches(lambda eeg, part: len(eeg), trials, "cpu", 3)) == len(trials)
    with pytest.raises(PhospheneError, match=r"the EEG of trial 4 holds NaN or infinity .*: leave the trial out"):
        list(in_batches(lambda eeg, part: eeg, replace(trials, eeg=eeg), "cpu", 3))


def test_whole_numbers_and_nothing_are_finite():
    for x in (torch.arange(3), torch.zeros(0, 4), torch.zeros(3, 0), torch.ones(2, 2)):
        assert check_finite(x, "x") is x
