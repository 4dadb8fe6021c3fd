"""Names of samplers, the same for priors and generators, and the stock schedulers that they stand for."""

from typing import Annotated, Any

from phosphene.errors import PhospheneError, nearest
from phosphene.settings import Rule

#: name -> scheduler of diffusers, and its options beside the schedule
SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddpm": ("DDPMScheduler", {"timestep_spacing": "leading"}),
    "ddim": ("DDIMScheduler", {"timestep_spacing": "trailing"}),
    "dpmsolver++": (
        "DPMSolverMultistepScheduler",
        {"timestep_spacing": "trailing", "algorithm_type": "dpmsolver++"},
    ),
    "sde-dpmsolver++": (
        "DPMSolverMultistepScheduler",
        {"timestep_spacing": "trailing", "algorithm_type": "sde-dpmsolver++"},
    ),
    "unipc": ("UniPCMultistepScheduler", {"timestep_spacing": "trailing"}),
}
FLOW = ("dpmsolver++", "sde-dpmsolver++", "unipc")  # those that read flow_prediction


def known(sampler: str, predicts: str = "epsilon") -> tuple[str, dict[str, Any]]:
    """Class and options.

    Raises
    ------
    PhospheneError : an unknown sampler, or one that does not read what the network predicts.
    """
    if sampler not in SAMPLERS:
        raise PhospheneError(f"unknown sampler '{sampler}': {nearest(sampler, SAMPLERS)}")
    if predicts == "flow_prediction" and sampler not in FLOW:
        raise PhospheneError(f"sampler '{sampler}' reads no flow_prediction: choose one of {', '.join(FLOW)}")
    return SAMPLERS[sampler]


Sampler = Annotated[str, Rule("a sampler", known)]


def exchanged(scheduler: Any, sampler: str) -> Any:
    """A scheduler of this sampler with the noise schedule, and what is predicted, of another.

    Parameters
    ----------
    scheduler : a stock one.
    sampler : one of `SAMPLERS`; of `FLOW` where the network predicts the flow.

    Raises
    ------
    PhospheneError : see `known`.
    """
    import diffusers

    name, options = known(sampler, scheduler.config.get("prediction_type"))
    own = {key: value for key, value in scheduler.config.items() if not key.startswith("_")}
    return getattr(diffusers, name).from_config({"clip_sample": False, **own, **options})
