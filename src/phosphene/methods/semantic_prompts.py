"""Semantic prompts: EEG to captions at three levels, and the captions to pictures."""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

import pandas as pd
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from phosphene import runtime
from phosphene.backbones.table import ClipRow
from phosphene.captions import LEVEL_OF, SlotName
from phosphene.eeg.trials import Trials
from phosphene.errors import PhospheneError, nearest
from phosphene.generators.base import Conditioning
from phosphene.losses import info_nce
from phosphene.methods.base import Method, in_batches, named, subject_rows
from phosphene.registry import EncoderArguments, EncoderName, build, register
from phosphene.settings import Count, Hertz
from phosphene.targets.base import Target, TargetTable
from phosphene.targets.clip import CLIPImage, CLIPText
from phosphene.utils.finite import check_finite


@register("method", "semantic_prompts")
class SemanticPrompts(Method):
    """EEG to ten captions, retrieved and drawn (Rezvani et al. 2025, arXiv 2507.07157).

    An encoder with spatial and temporal attention feeds a projection head for each caption slot; each head is aligned
    with CLIP's text embeddings of that slot's captions; the captions nearest to a head's output, found among those of
    the training pictures, are what a frozen text-to-image model draws from. Sizes, temperature, gallery and merging are
    not public: ours.

    Parameters
    ----------
    n_chans, n_times, sfreq : the trials' shape and rate (Hz).
    slots : the caption slots that have a head, columns of the stimulus table; None takes all ten.
    encoder, encoder_args : name of a registered encoder and its further arguments.
    width : length of the encoder's output, which the heads read.
    backbone : CLIP row of the backbone table.
    loss : "contrastive" (symmetric InfoNCE for each head; equal captions are no negatives of each other), or "mse".
    merge : what is drawn from: "concat", the captions one after the other, object first, as many as fit; "mean" and
        "weighted", the mean of their text states, equally or by similarity; "dominant", the caption of the head whose
        similarity is highest against its own null.
    gallery : "train", the captions of the training pictures; "test_captions", those of the trials that are decoded,
        which are the answers: a leak, for comparison with work that has it.
    subjects : who has an embedding of their own in the encoder; None for none. A run takes True for the subjects of
        the training trials.
    captions : of each slot, the gallery. Filled by training.
    null : of each slot, mean and SD of the highest similarity of outputs with captions that were not theirs. Filled by
        training.
    """

    name = "semantic_prompts"
    decodes = "captions"
    stages: tuple[str, ...] = ("align", "captions")
    solved: tuple[str, ...] = ("captions",)
    citation = (
        "Rezvani, Akbari, Sanjar Arani, Mirian, Arasteh & McKeown (2025). Interpretable EEG-to-Image Generation with "
        "Semantic Prompts. arXiv:2507.07157"
    )

    def __init__(
        self,
        n_chans: Count,
        n_times: Count,
        sfreq: Hertz | None = None,
        *,
        slots: Annotated[list[SlotName], Field(min_length=1)] | None = None,
        encoder: EncoderName = "spatiotemporal",
        encoder_args: EncoderArguments = None,
        width: Count = 256,
        backbone: ClipRow = "mini",
        loss: Literal["contrastive", "mse"] = "contrastive",
        merge: Literal["concat", "mean", "weighted", "dominant"] = "concat",
        gallery: Literal["train", "test_captions"] = "train",
        subjects: list[str] | Literal[True] | None = None,
        captions: dict[str, list[str]] | None = None,
        null: dict[str, list[float]] | None = None,
    ):
        super().__init__()
        self.slots = list(LEVEL_OF) if slots is None else list(slots)
        unknown = [name for name in self.slots if name not in LEVEL_OF]
        if unknown or not self.slots:
            raise PhospheneError(
                f"unknown caption slot '{(unknown or [''])[0]}': {nearest((unknown or [''])[0], LEVEL_OF)}"
            )
        self.backbone, self.loss, self.merge, self.from_test = backbone, loss, merge, gallery == "test_captions"
        self.subjects = named(subjects)
        dim = self._text.dim
        shape = {"n_chans": n_chans, "n_times": n_times, "n_outputs": width, "sfreq": sfreq}
        whose = {"n_subjects": len(self.subjects)} if self.subjects else {}
        self.encoder = build("encoder", encoder, **shape, **whose, **(encoder_args or {}))
        self.head = nn.ModuleDict(
            {
                slot: nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, dim))
                for slot in self.slots
            }
        )
        self.logit_scale = nn.Parameter(torch.full((len(self.slots),), math.log(1 / 0.07)))

    @classmethod
    def drawn_from(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {"prompt": None}

    # -- training --------------------------------------------------------------------------------

    @cached_property
    def _text(self) -> CLIPText:
        return CLIPText(backbone=self.backbone)

    def targets(self) -> dict[str, Target]:
        return {slot: CLIPText(slot, self.backbone) for slot in self.slots}

    def heads(self, eeg: Tensor, subject: Sequence[str] | None = None) -> dict[str, Tensor]:
        """``{slot: (batch, dim)}`` in CLIP's text space, of arbitrary length; differentiable.

        Parameters
        ----------
        eeg : (batch, n_chans, n_times), as the method was trained on it (whitened where the run whitens).
        subject : (batch,) names; one without an embedding gets the mean of those known.
        """
        if self.subjects:
            features = self.encoder(eeg, subject_rows(self.subjects, subject, len(eeg), eeg.device))
        else:
            features = self.encoder(eeg)
        return {slot: self.head[slot](features) for slot in self.slots}

    def training_step(self, batch: dict[str, Any], stage: str) -> dict[str, Tensor]:
        heads = self.heads(batch["eeg"], batch.get("subject"))
        losses = {}
        for slot, scale in zip(self.slots, self.logit_scale.exp().clamp(max=100), strict=True):
            target = batch[slot]
            if self.loss == "mse":
                losses[slot] = F.mse_loss(heads[slot], F.normalize(target, dim=-1)) * target.shape[1]
            else:
                losses[slot] = info_nce(heads[slot], target, scale, groups=target)
        return {"loss": torch.stack(list(losses.values())).mean(), **losses}

    def solve(self, stage: str, trials: Trials, tables: dict[str, TargetTable]) -> None:
        """The gallery, and each head's null: what training outputs find among captions when paired with others."""
        self.config["captions"] = self._said(trials)
        decoded = self.encode(trials)
        self.config["null"] = {}
        for slot in self.slots:
            similarity = _cosine(decoded[slot], tables[slot][trials.table["stimulus"]])
            away = similarity[~torch.eye(len(similarity), dtype=torch.bool)]
            self.config["null"][slot] = [float(away.mean()), max(float(away.std()), 1e-6)]

    # -- decoding --------------------------------------------------------------------------------

    @torch.inference_mode()
    def encode(self, trials: Trials) -> dict[str, Tensor]:
        """``{slot: (n_trials, dim)}``."""
        self.eval()
        names, none = trials.table["subject"].tolist(), torch.empty(0, self._text.dim)

        def decode(eeg: Tensor, part: slice) -> dict[str, Tensor]:
            return {slot: output.cpu() for slot, output in self.heads(eeg, names[part]).items()}

        parts = list(in_batches(decode, trials, runtime.home(self)))
        return {slot: torch.cat([none, *(part[slot] for part in parts)]) for slot in self.slots}

    @property
    def image_space(self) -> CLIPImage:
        return CLIPImage(self.backbone)

    def points(self, heads: Mapping[str, Tensor]) -> Tensor:
        """(n_trials, n_slots * dim): unit outputs side by side, so that a cosine is the mean over heads."""
        return torch.cat([F.normalize(heads[slot], dim=-1) for slot in self.slots], dim=-1)

    def pictures(self, stimuli: pd.DataFrame) -> Tensor:
        """(n_stimuli, n_slots * dim): the unit text embeddings of a picture's captions side by side."""
        return torch.cat([F.normalize(t.table(stimuli).vectors, dim=-1) for t in self.targets().values()], dim=-1)

    def captions(self, trials: Trials | None = None) -> dict[str, list[str]]:
        """Of each slot, the captions among which is sought."""
        if self.from_test and trials is not None:
            return self._said(trials)
        if self.config["captions"] is None:
            raise PhospheneError("the method has no captions to choose among: train it first")
        return dict(self.config["captions"])

    def _said(self, trials: Trials) -> dict[str, list[str]]:
        """Of each slot, the distinct captions of the pictures shown in these trials."""
        shown = trials.stimuli.loc[list(dict.fromkeys(trials.table["stimulus"]))]
        return {slot: sorted(set(shown[slot].astype(str))) for slot in self.slots}

    def retrieved(self, trials: Trials) -> dict[str, tuple[list[str], Tensor]]:
        """Of each slot, the caption nearest to each trial's output (n_trials) and its similarity (n_trials,)."""
        decoded, found = self.encode(trials), {}
        for slot, captions in self.captions(trials).items():
            check_finite(decoded[slot], f"head '{slot}' of trial")
            similarity = _cosine(decoded[slot], self._text.texts(captions))
            best = similarity.argmax(dim=1)
            found[slot] = ([captions[int(i)] for i in best], similarity.gather(1, best[:, None])[:, 0])
        return found

    def condition(self, trials: Trials) -> Conditioning:
        """Prompts made of the captions retrieved."""
        found = self.retrieved(trials)
        rows = [{slot: captions[i] for slot, (captions, _) in found.items()} for i in range(len(trials))]
        if self.merge == "concat":
            return Conditioning(prompt=[self._concatenated(row) for row in rows])
        if self.merge == "mean":
            return Conditioning(prompt=[[(caption, 1.0) for caption in row.values()] for row in rows])
        scores = torch.stack(
            [(similarity - self._null[slot][0]) / self._null[slot][1] for slot, (_, similarity) in found.items()], dim=1
        )
        if self.merge == "dominant":
            return Conditioning(prompt=[row[self.slots[int(i)]] for row, i in zip(rows, scores.argmax(1), strict=True)])
        weights = scores.softmax(dim=1).clamp(min=1e-4).tolist()
        return Conditioning(
            prompt=[list(zip(row.values(), weight, strict=True)) for row, weight in zip(rows, weights, strict=True)]
        )

    @property
    def _null(self) -> dict[str, list[float]]:
        if self.config["null"] is None:
            raise PhospheneError("the heads have no null: train the method first")
        return dict(self.config["null"])

    def _concatenated(self, row: dict[str, str]) -> str:
        """Captions by level, object first, with commas; one that would not fit the text encoder is left out."""
        order = sorted(self.slots, key=lambda slot: ("object", "spatial", "thematic").index(LEVEL_OF[slot]))
        prompt = ""
        for slot in order:
            longer = f"{prompt}, {row[slot]}" if prompt else row[slot]
            if self._text.fits(longer):
                prompt = longer
        return prompt or row[order[0]]

    def gallery(self, trials: Trials) -> Sequence[str]:
        """Those of the trials themselves, where their captions were asked for."""
        return list(trials.table["stimulus"].unique()) if self.from_test else []


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T
