"""What methods have in common that align EEG with CLIP's image space, and draw through an image-prompt adapter."""

import inspect
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from phosphene import runtime
from phosphene.backbones.table import width_of
from phosphene.eeg.trials import Trials
from phosphene.errors import PhospheneError
from phosphene.generators.base import Conditioning
from phosphene.methods.base import Method, in_batches, named, subject_rows
from phosphene.registry import build, find
from phosphene.targets.base import Target, TargetTable
from phosphene.targets.clip import CLIPImage


class Aligned(Method):
    """An encoder into CLIP's image space, trained in stage "align", and a prior from its output to a full embedding.

    A ridge prior is solved; a diffusion prior is trained in stage "prior", on what the encoder, by then frozen, makes
    of the training trials. A subclass fills ``config`` and gives the losses of "align".

    Parameters
    ----------
    n_chans, n_times, sfreq : the trials' shape and rate (Hz).
    backbone : CLIP row of the backbone table, the target space.
    encoder, encoder_args : a registered encoder and its further arguments.
    subjects : who has a place of their own in the encoder; None for none.
    prior, prior_args : a registered prior and its further arguments.
    """

    stages: tuple[str, ...] = ("align", "prior")

    def __init__(
        self,
        n_chans: int,
        n_times: int,
        sfreq: float | None,
        backbone: str,
        encoder: str,
        encoder_args: dict[str, Any] | None,
        subjects: list[str] | Literal[True] | None,
        prior: str,
        prior_args: dict[str, Any] | None,
    ):
        super().__init__()
        self.space, self.subjects = CLIPImage(backbone), named(subjects)
        shape: dict[str, Any] = {
            "n_chans": n_chans,
            "n_times": n_times,
            "n_outputs": self.space.dim,
            "sfreq": sfreq,
        }
        if self.subjects:
            if "n_subjects" not in inspect.signature(find("encoder", encoder)).parameters:
                raise PhospheneError(f"encoder '{encoder}' has no place for subjects: leave method.subjects out")
            shape["n_subjects"] = len(self.subjects)
        self.encoder = build("encoder", encoder, **shape, **(encoder_args or {}))
        self.prior = build("prior", prior, n_inputs=self.space.dim, n_outputs=self.space.dim, **(prior_args or {}))
        self.solved = ("prior",) if self.prior.solved else ()

    @classmethod
    def drawn_from(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {"image_embeds": width_of(arguments["backbone"])}

    def targets(self) -> dict[str, Target]:
        return {"image": self.space}

    def embed(self, eeg: Tensor, subject: Sequence[str] | None = None) -> Tensor:
        """(batch, dim) of (batch, n_chans, n_times); ``subject`` (batch,) names, one not known has the shared place."""
        if not self.subjects:
            return self.encoder(eeg)
        return self.encoder(eeg, subject_rows(self.subjects, subject, len(eeg), eeg.device))

    def heads(self, eeg: Tensor, subject: Sequence[str] | None = None) -> dict[str, Tensor]:
        """``{"image": (batch, dim)}`` of (batch, n_chans, n_times), differentiable."""
        return {"image": self.embed(eeg, subject)}

    # -- training --------------------------------------------------------------------------------

    def trained(self, stage: str) -> Iterator[nn.Parameter]:
        """A stage that is called as a module of the method trains that module, "align" all that is no such module."""
        if isinstance(own := getattr(self, stage), nn.Module):
            return own.parameters()
        others = tuple(f"{other}." for other in self.stages if other != stage)
        return (p for name, p in self.named_parameters() if not name.startswith(others))

    def begin(self, stage: str, trials: Trials, tables: dict[str, TargetTable], inputs: Tensor | None) -> None:
        if stage == "prior":
            self.prior.observe(tables["image"][trials.table["stimulus"]], inputs)

    def inputs(self, stage: str, trials: Trials) -> Tensor | None:
        return self.encode(trials)["image"] if stage == "prior" else None

    def wanted(self, stage: str) -> Collection[str]:
        return ("image",) if stage == "prior" else self.targets()

    def training_step(self, batch: dict[str, Any], stage: str) -> dict[str, Tensor]:
        if stage == "prior":
            return {"loss": self.prior.loss(batch["inputs"], batch["image"])}
        return self.align(self.embed(batch["eeg"], batch.get("subject")), batch)

    @abstractmethod
    def align(self, embedding: Tensor, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Losses of what the encoder made, (batch, dim), and `loss`, their sum."""

    def solve(self, stage: str, trials: Trials, tables: dict[str, TargetTable]) -> None:
        self.prior.fit(self.encode(trials)["image"], tables["image"][trials.table["stimulus"]])

    # -- decoding --------------------------------------------------------------------------------

    @torch.inference_mode()
    def encode(self, trials: Trials) -> dict[str, Tensor]:
        """``{"image": (n_trials, dim)}``, in CLIP's image space, of arbitrary length."""
        self.eval()
        names = trials.table["subject"].tolist()
        parts = in_batches(lambda eeg, part: self.embed(eeg, names[part]).cpu(), trials, runtime.home(self))
        return {"image": torch.cat([torch.empty(0, self.space.dim), *parts])}

    @torch.inference_mode()
    def condition(self, trials: Trials) -> Conditioning:
        embedding = self.encode(trials)["image"].to(runtime.home(self))
        return Conditioning(image_embeds=self.prior(embedding).cpu())
