import diffusers
import numpy as np
import pytest
import torch

from backbones.published import published
from phosphene.backbones.samplers import FLOW, SAMPLERS, exchanged
from phosphene.errors import PhospheneError
from phosphene.generators.base import Conditioning
from phosphene.generators.diffusion import Diffusion
from phosphene.generators.tuned import TunedUNet
from phosphene.networks.objective import noised
from phosphene.runs.experiment import Experiment
from phosphene.runs.recipe import Recipe

SAID = Conditioning(prompt=["a red apple in the meadow"])


def of(name):
    """The scheduler that a backbone brings."""
    facts = published(name)["scheduler"]
    return getattr(diffusers, facts["class"]).from_config(facts["config"])


def pixels(drawn):
    return np.asarray(drawn[0][0], float)


@pytest.mark.parametrize(
    ("name", "sampler"),
    [(n, s) for n in ("sd15", "sd21", "sdxl-turbo", "sdxl-base") for s in SAMPLERS] + [("mini", s) for s in FLOW],
)
def test_the_only_picture_there_is_comes_out(name, sampler):
    """A perfect network of a world of one picture leads every sampler to it, whatever is predicted."""
    own = of(name)
    scheduler = exchanged(own, sampler)
    assert type(scheduler).__name__ == SAMPLERS[sampler][0]
    for key in ("prediction_type", "num_train_timesteps", "beta_start", "beta_end", "beta_schedule"):
        assert scheduler.config[key] == own.config[key]
    picture = 3 * torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(1))  # latents are no pixels
    scheduler.set_timesteps(12)
    x = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(2)) * scheduler.init_noise_sigma
    for time in scheduler.timesteps:
        share = time / 1000
        if name == "mini":
            noise = (x - (1 - share) * picture) / share
        else:
            kept = own.alphas_cumprod[int(time)]
            noise = (x - kept.sqrt() * picture) / (1 - kept).sqrt()
        _, predicted = noised(picture, noise, time[None] if name == "mini" else time[None].long(), own)
        noise_of_step = {} if "unipc" in sampler else {"generator": torch.Generator().manual_seed(0)}
        x = scheduler.step(predicted, time, x, return_dict=False, **noise_of_step)[0]
    torch.testing.assert_close(x, picture, atol=0.1, rtol=0)  # some end at the first noise level


def test_a_solver_is_the_one_that_is_named():
    stochastic = exchanged(of("mini"), "sde-dpmsolver++")
    assert stochastic.config.algorithm_type == "sde-dpmsolver++"
    assert exchanged(stochastic, "dpmsolver++").config.algorithm_type == "dpmsolver++"


def test_mini_draws_with_its_own_solver_by_name_and_the_same_with_another():
    own = pixels(Diffusion("mini", steps=24)(SAID))
    other = pixels(Diffusion("mini", steps=24, sampler="unipc")(SAID))
    assert np.array_equal(own, pixels(Diffusion("mini", steps=24, sampler="dpmsolver++")(SAID)))
    assert 0 < np.abs(own - other).mean() < 4


def test_a_start_and_a_tuned_unet_keep_the_sampler():
    plain, other = Diffusion("mini", steps=4), Diffusion("mini", steps=4, sampler="unipc")
    start = Conditioning(prompt=SAID.prompt, init=plain(SAID)[0], strength=0.75)
    assert not np.array_equal(pixels(plain(start)), pixels(other(start)))
    net = TunedUNet(plain.pipeline.unet)
    assert type(other.tuned(net).pipeline.scheduler).__name__ == "UniPCMultistepScheduler"


def test_what_cannot_be_is_refused_before_anything_is_read(tmp_path):
    for sampler, line in (("euler", "unknown sampler 'euler'"), ("ddim", r"reads no flow_prediction: choose one of")):
        with pytest.raises(PhospheneError, match=line):
            Diffusion("mini", sampler=sampler)
        given = {"dataset.root": str(tmp_path / "none"), "generator.sampler": sampler}
        with pytest.raises(PhospheneError, match=line):
            Experiment(Recipe.read("demo", given), tmp_path / "run").run()
        assert not (tmp_path / "run").exists()
