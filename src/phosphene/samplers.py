"""Names of samplers, the same for priors and generators, and the stock schedulers that they stand for."""

from typing import Any

from phosphene.errors import PhospheneError, nearest

#: name -> scheduler of diffusers, and its options beside the schedule
SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddpm": ("DDPMScheduler", {"timestep_spacing": "leading"}),
    "ddim": ("DDIMScheduler", {"timestep_spacing": "trailing"}),
    "dpmsolver++": ("DPMSolverMultistepScheduler", {"timestep_spacing": "trailing"}),
    "sde-dpmsolver++": (
        "DPMSolverMultistepScheduler",
        {"timestep_spacing": "trailing", "algorithm_type": "sde-dpmsolver++"},
    ),
    "unipc": ("UniPCMultistepScheduler", {"timestep_spacing": "trailing"}),
}
FLOW = ("dpmsolver++", "unipc")  # those that read flow_prediction


def known(sampler: str) -> tuple[str, dict[str, Any]]:
    """Class and options.

    Raises
    ------
    PhospheneError : an unknown sampler.
    """
    if sampler not in SAMPLERS:
        raise PhospheneError(f"unknown sampler '{sampler}': {nearest(sampler, SAMPLERS)}")
    return SAMPLERS[sampler]


def exchanged(scheduler: Any, sampler: str) -> Any:
    """A scheduler of this sampler with the noise schedule, and what is predicted, of another.

    Parameters
    ----------
    scheduler : a stock one.
    sampler : one of `SAMPLERS`; of `FLOW` where the network predicts the flow.

    Raises
    ------
    PhospheneError : an unknown sampler, or one that does not read what the network predicts.
    """
    import diffusers

    name, options = known(sampler)
    if scheduler.config.get("prediction_type") == "flow_prediction" and sampler not in FLOW:
        raise PhospheneError(f"sampler '{sampler}' reads no flow_prediction: choose {' or '.join(FLOW)}")
    own = {key: value for key, value in scheduler.config.items() if not key.startswith("_")}
    return getattr(diffusers, name).from_config({"algorithm_type": "dpmsolver++", **own, **options})
