import pytest
import torch

from phosphene.errors import PhospheneError
from phosphene.generators.base import Conditioning
from phosphene.generators.diffusion import Diffusion
from phosphene.generators.objective import noised
from phosphene.samplers import FLOW, SAMPLERS, exchanged


def of(predicts):
    """A scheduler as Stable Diffusion or `mini` brings it."""
    import diffusers

    if predicts == "flow_prediction":
        return diffusers.DPMSolverMultistepScheduler(prediction_type=predicts, use_flow_sigmas=True)
    return diffusers.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=predicts, steps_offset=1,
        clip_sample=False, set_alpha_to_one=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("predicts", "sampler"),
    [(p, s) for p in ("epsilon", "v_prediction") for s in SAMPLERS] + [("flow_prediction", s) for s in FLOW],
)
def test_the_only_picture_there_is_comes_out(predicts, sampler):
    """A perfect network of a world of one picture leads every sampler to it, whatever is predicted."""
    own = of(predicts)
    scheduler = exchanged(own, sampler)
    assert scheduler.config.prediction_type == predicts
    picture = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(1))
    scheduler.set_timesteps(12)
    x = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(2)) * scheduler.init_noise_sigma
    for time in scheduler.timesteps:
        share = time / 1000
        if predicts == "flow_prediction":
            noise = (x - (1 - share) * picture) / share
        else:
            kept = own.alphas_cumprod[int(time)]
            noise = (x - kept.sqrt() * picture) / (1 - kept).sqrt()
        at = time[None] if predicts == "flow_prediction" else time[None].long()
        _, predicted = noised(picture, noise, at, own)
        x = scheduler.step(predicted, time, scheduler.scale_model_input(x, time), return_dict=False)[0]
    torch.testing.assert_close(x, picture, atol=0.1, rtol=0)  # DDIM ends at the first noise level


def test_mini_draws_the_same_with_another_solver():
    said = Conditioning(prompt=["a red apple in the meadow"])
    own = torch.as_tensor(_pixels(Diffusion("mini", steps=24)(said)))
    same = torch.as_tensor(_pixels(Diffusion("mini", steps=24, sampler="dpmsolver++")(said)))
    other = torch.as_tensor(_pixels(Diffusion("mini", steps=24, sampler="unipc")(said)))
    assert torch.equal(own, same)
    assert not torch.equal(own, other)
    assert (own - other).abs().mean() < 4


def test_what_cannot_be_is_refused():
    with pytest.raises(PhospheneError, match="unknown sampler 'euler'"):
        Diffusion("mini", sampler="euler")
    with pytest.raises(PhospheneError, match=r"reads no flow_prediction: choose dpmsolver\+\+ or unipc"):
        _ = Diffusion("mini", sampler="ddim").pipeline


def _pixels(drawn):
    import numpy as np

    return np.asarray(drawn[0][0], float)
