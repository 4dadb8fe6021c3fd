"""The ATM encoder: attention across channels, or across time, before a convolution."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phosphene.encoders.base import Dropout, Encoder, projector, trials_at_once
from phosphene.encoders.braindecode import Braindecode
from phosphene.encoders.tsconv import TSConv
from phosphene.errors import PhospheneError
from phosphene.registry import register
from phosphene.settings import Count, DropoutRate, Hertz, ZeroOrMore

_LONGEST = 5000  # rows of the published positional tables
PUBLISHED: dict[str, dict[str, Any]] = {
    "channel": {"n_heads": 4, "d_ff": 256, "dropout": 0.25},
    "time": {"n_heads": 1, "d_ff": 2048, "dropout": 0.1},
}
CONVOLUTIONS = {"tsconv": 0.5, "eegnet": 0.25}  # their published dropout
EEGNET: dict[str, Any] = {"F1": 8, "D": 20, "F2": 160, "kernel_length": 4, "pool_mode": "mean"}  # of ATM-E
N_FEATURES = 1440  # of ATM-E for 63 x 250; the same for other shapes is ours


@register("encoder", "atm")
class ATMEncoder(Encoder):
    """Adaptive Thinking Mapper (Li et al., NeurIPS 2024, arXiv 2403.07721, section 2.2), in both its families.

    "channel" (the figure of the paper and the released encoder): every channel's samples, mapped linearly, are a token;
    a subject's token stands before them; post-norm transformer; the subject's token is left out. "time" (the table of
    parameters in the paper): every sample is a token; post-norm transformer with ReLU; a linear map over samples. Both
    then go through a convolution and the projector of NICE. The convolution is `TSConv` in ATM-S, EEGNet in ATM-E.

    Parameters
    ----------
    n_chans, n_times, n_outputs, sfreq, chs_info : see `Encoder`.
    family : "channel" or "time".
    token_slice : "fixed" gives the convolution the channels' tokens; "legacy" gives it the subject's token and all
        channels but the last, as the released code of 2024 does by mistake (family "channel").
    positional_embedding : sinusoids over tokens. The paper's ablation is better without; published "time" has them.
    n_subjects : rows of the subjects' table; 0 for the shared token alone.
    joint : one linear map for each subject, in place of one for all: of every channel's samples before attention
        (family "channel"; its published form), or after it (family "time"; ours).
    shared_rule : who gets the shared token, by rows out of the table: each "sample" of them, or its whole "batch", as
        the released code has it, for parity alone.
    depth : transformer layers.
    n_heads, d_ff, dropout : of the transformer; None takes the family's published values: 4, 256 and 0.25 for
        "channel", 1, 2048 and 0.1 for "time".
    convolution : "tsconv" (ATM-S), or "eegnet" (ATM-E): braindecode's EEGNet in the published configuration, whose
        output is 1440 numbers; needs the extra ``braindecode``.
    kernel, pool, stride : see `TSConv`. Published are (25, 51, 5) and, for reconstruction with "time", (5, 17, 5).
    eegnet_args : arguments of EEGNet that take precedence over the published ones.
    conv_dropout : None takes the published values: 0.5 for "tsconv", 0.25 for "eegnet".
    projector_dropout : the published 0.5.
    unused : builds the published parameters that nothing reads, with so many linear layers of subjects: for parity of
        names and counts. None for none.

    Notes
    -----
    State-dict names are the published ones. With its ``unused`` parameters and the `logit_scale`, which here belongs to
    the method, 63 x 250 -> 1024 has the published 3,202,413 (10 rows; 3,200,413 with 2) and 3,246,741 ("time").
    """

    def __init__(
        self,
        n_chans: Count,
        n_times: Count,
        n_outputs: Count,
        sfreq: Hertz | None = None,
        chs_info: Sequence[dict[str, Any]] | None = None,
        *,
        family: Literal["channel", "time"] = "channel",
        token_slice: Literal["fixed", "legacy"] = "fixed",
        positional_embedding: bool = False,
        n_subjects: ZeroOrMore = 0,
        joint: bool = False,
        shared_rule: Literal["sample", "batch"] = "sample",
        depth: Count = 1,
        n_heads: Count | None = None,
        d_ff: Count | None = None,
        dropout: DropoutRate | None = None,
        convolution: Literal["tsconv", "eegnet"] = "tsconv",
        kernel: Count = 25,
        pool: Count = 51,
        stride: Count = 5,
        eegnet_args: dict[str, Any] | None = None,
        conv_dropout: DropoutRate | None = None,
        projector_dropout: DropoutRate = 0.5,
        unused: ZeroOrMore | None = None,
    ):
        super().__init__(n_chans, n_times, n_outputs, sfreq, chs_info)
        if family not in PUBLISHED:
            raise PhospheneError(f"unknown family '{family}': valid: {', '.join(PUBLISHED)}")
        if convolution not in CONVOLUTIONS:
            raise PhospheneError(f"unknown convolution '{convolution}': valid: {', '.join(CONVOLUTIONS)}")
        if joint and not n_subjects:
            raise PhospheneError("joint needs a map for each subject: give n_subjects, or joint=False")
        sizes = dict(PUBLISHED[family])
        sizes.update((k, v) for k, v in {"n_heads": n_heads, "d_ff": d_ff, "dropout": dropout}.items() if v is not None)
        self.family = family
        width = n_times if family == "channel" else n_chans
        if sizes["n_heads"] > width or (family == "time" and width % sizes["n_heads"]):
            raise PhospheneError(f"{sizes['n_heads']} heads do not fit tokens of width {width}: lower n_heads")
        if family == "channel":
            self.encoder = _ChannelTokens(
                n_times,
                n_subjects,
                joint,
                positional_embedding,
                token_slice,
                shared_rule,
                depth,
                **sizes,
                unused=unused is not None,
            )
            if unused:
                self.subject_wise_linear = nn.ModuleList(nn.Linear(n_times, n_times) for _ in range(unused))
        else:
            if n_subjects and not joint:
                raise PhospheneError("family 'time' has no subject token: give joint=True, or n_subjects=0")
            self.attention_model = _TimeTokens(n_chans, positional_embedding, depth, **sizes, unused=unused is not None)
            self.subject_wise_linear = BySubject(n_times, max(1, n_subjects))
        if convolution == "eegnet" and (kernel, pool, stride) != (25, 51, 5):
            raise PhospheneError("kernel, pool and stride are tsconv's: give eegnet_args, as in {'kernel_length': 5}")
        if convolution == "tsconv" and eegnet_args:
            raise PhospheneError("eegnet_args are for convolution 'eegnet': give kernel, pool and stride to tsconv")
        rate = CONVOLUTIONS[convolution] if conv_dropout is None else conv_dropout
        if convolution == "tsconv":
            conv, n_features = self._tsconv(kernel, pool, stride, rate)
        else:
            conv, n_features = self._eegnet({"drop_prob": rate, **(eegnet_args or {})})
        self.enc_eeg = nn.Sequential(conv, nn.Flatten())
        self.proj_eeg = projector(n_features, n_outputs, projector_dropout)

    @classmethod
    def needs(cls, **arguments: Any) -> dict[str, str]:
        """Optional packages, each with the extra that brings it."""
        return Braindecode.needs() if arguments.get("convolution") == "eegnet" else {}

    # what reads the transformed EEG, (batch, n_chans, n_times), and how many numbers it gives for each trial

    def _tsconv(self, kernel: int, pool: int, stride: int, dropout: float) -> tuple[nn.Module, int]:
        conv = TSConv(self.n_chans, self.n_times, kernel, pool, stride, dropout)
        return conv, conv.steps * conv.width

    def _eegnet(self, arguments: dict[str, Any]) -> tuple[nn.Module, int]:
        return Braindecode(self.n_chans, self.n_times, N_FEATURES, model_args={**EEGNET, **arguments}), N_FEATURES

    def forward(self, eeg: Tensor, subject: Tensor | None = None) -> Tensor:
        """(batch, n_chans, n_times) -> (batch, n_outputs).

        Parameters
        ----------
        subject : (batch,) integer rows of the subjects' table; one out of it, such as -1, is a subject not known, who
            gets the shared token and, in joint encoders, the mean of the subjects' maps. None for nobody known.
        """
        self.check(eeg)
        if self.family == "channel":
            attended = self.encoder(eeg, subject)
        else:
            attended = self.subject_wise_linear(self.attention_model(eeg), subject)
        embedding: Tensor = self.proj_eeg(self.enc_eeg(attended))
        return embedding


class BySubject(nn.ModuleList):
    """A linear map over samples for each subject, their mean for one not known: (batch, n, dim) -> the same."""

    def __init__(self, dim: int, n_subjects: int):
        super().__init__(nn.Linear(dim, dim) for _ in range(n_subjects))

    def forward(self, x: Tensor, subject: Tensor | None) -> Tensor:
        maps: list[Any] = list(self)
        weights, biases = torch.stack([m.weight for m in maps]), torch.stack([m.bias for m in maps])
        if subject is None or len(self) == 1:
            return F.linear(x, weights.mean(dim=0), biases.mean(dim=0))
        rows = torch.where((subject >= 0) & (subject < len(self)), subject, len(self))
        weights = torch.cat([weights, weights.mean(dim=0, keepdim=True)])
        biases = torch.cat([biases, biases.mean(dim=0, keepdim=True)])
        return torch.baddbmm(biases[rows][:, None], x, weights[rows].mT)


class _Subjects(nn.Module):
    """The subjects' tokens: rows of a table, and one that is shared by those out of it."""

    def __init__(self, n_subjects: int, dim: int, rule: str, unused: bool):
        super().__init__()
        self.rule = rule
        if n_subjects:
            self.subject_embedding = nn.Embedding(n_subjects, dim)
        self.n_subjects = n_subjects
        self.shared_embedding = nn.Parameter(torch.randn(1, dim))
        if unused:
            self.mask_embedding = nn.Parameter(torch.randn(1, dim))

    def forward(self, subject: Tensor | None, n: int) -> Tensor:
        shared = self.shared_embedding.expand(n, -1)
        if subject is None or not self.n_subjects:
            return shared
        known = (subject >= 0) & (subject < self.n_subjects)
        if self.rule == "batch":
            known = known.all().expand(n)
        return torch.where(known[:, None], self.subject_embedding(subject.clamp(0, self.n_subjects - 1)), shared)


class _Embedding(nn.Module):
    """Tokens of channels with the subject's token before them: (batch, n_chans, dim) -> (batch, 1 + n_chans, dim)."""

    def __init__(
        self, dim: int, n_subjects: int, joint: bool, positional: bool, rule: str, dropout: float, unused: bool
    ):
        super().__init__()
        self.positional = positional
        self.value_embedding = BySubject(dim, n_subjects) if joint else nn.Linear(dim, dim)
        if positional or unused:
            self.position_embedding = _Sinusoids(dim, unused, batch_first=True)
        self.subject_embedding = _Subjects(n_subjects, dim, rule, unused)
        self.dropout = Dropout(dropout)
        if unused:
            self.mask_token = nn.Parameter(torch.randn(1, dim))
            self.temporal_embedding = nn.ModuleDict({"embed": nn.Linear(4, dim, bias=False)})

    def forward(self, eeg: Tensor, subject: Tensor | None) -> Tensor:
        joint = isinstance(self.value_embedding, BySubject)
        tokens = self.value_embedding(eeg, subject) if joint else self.value_embedding(eeg)
        if self.positional:
            tokens = self.position_embedding(tokens)
        whole: Tensor = self.dropout(torch.cat([self.subject_embedding(subject, len(eeg))[:, None], tokens], dim=1))
        return whole


class _ChannelTokens(nn.Module):
    """Attention across channels: (batch, n_chans, n_times) -> the same."""

    def __init__(
        self,
        dim: int,
        n_subjects: int,
        joint: bool,
        positional: bool,
        token_slice: str,
        rule: str,
        depth: int,
        n_heads: int,
        d_ff: int,
        dropout: float,
        unused: bool,
    ):
        super().__init__()
        self.first = 1 if token_slice == "fixed" else 0
        self.enc_embedding = _Embedding(dim, n_subjects, joint, positional, rule, dropout, unused)
        layers = nn.ModuleList(_Layer(dim, n_heads, d_ff, dropout) for _ in range(depth))
        self.encoder = nn.ModuleDict({"attn_layers": layers, "norm": nn.LayerNorm(dim)})

    def forward(self, eeg: Tensor, subject: Tensor | None) -> Tensor:
        layers: Any = self.encoder["attn_layers"]
        done = []
        for x in self.enc_embedding(eeg, subject).split(trials_at_once(eeg)):
            for layer in layers:
                x = layer(x)
            done.append(self.encoder["norm"](x[:, self.first : self.first + eeg.shape[1]]))
        return torch.cat(done)


class _Layer(nn.Module):
    """Post-norm transformer layer; each head has ``dim // n_heads`` numbers, rounded down."""

    def __init__(self, dim: int, n_heads: int, d_ff: int, dropout: float):
        super().__init__()
        inner = dim // n_heads * n_heads
        self.attention = nn.ModuleDict(
            {
                "query_projection": nn.Linear(dim, inner),
                "key_projection": nn.Linear(dim, inner),
                "value_projection": nn.Linear(dim, inner),
                "out_projection": nn.Linear(inner, dim),
            }
        )
        self.conv1, self.conv2 = nn.Conv1d(dim, d_ff, 1), nn.Conv1d(d_ff, dim, 1)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout, self.n_heads = Dropout(dropout), n_heads

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.dropout(self._attend(x)))
        hidden = self.dropout(F.gelu(F.linear(x, self.conv1.weight.squeeze(2), self.conv1.bias)))
        out: Tensor = self.norm2(x + self.dropout(F.linear(hidden, self.conv2.weight.squeeze(2), self.conv2.bias)))
        return out

    def _attend(self, x: Tensor) -> Tensor:
        parts: list[Any] = [self.attention[f"{name}_projection"] for name in ("query", "key", "value")]
        scale = (parts[0].out_features // self.n_heads) ** -0.5  # on the weights, which are fewer than the scores
        weight = torch.cat([parts[0].weight * scale, parts[1].weight, parts[2].weight])
        bias = torch.cat([parts[0].bias * scale, parts[1].bias, parts[2].bias])
        # 3, batch, heads, tokens, numbers of a head
        query, key, value = F.linear(x, weight, bias).unflatten(2, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        weights = self.dropout((query @ key.mT).softmax(dim=-1))
        out: Tensor = self.attention["out_projection"]((weights @ value).transpose(1, 2).flatten(2))
        return out


class _TimeTokens(nn.Module):
    """Attention across time: (batch, n_chans, n_times) -> the same."""

    def __init__(
        self, n_chans: int, positional: bool, depth: int, n_heads: int, d_ff: int, dropout: float, unused: bool
    ):
        super().__init__()
        self.pos_encoder = _Sinusoids(n_chans, unused, batch_first=False) if positional or unused else None
        self.positional = positional
        layer = nn.TransformerEncoderLayer(n_chans, n_heads, d_ff, dropout, batch_first=True)
        self.transformer_encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        if unused:
            self.encoder_layer = layer

    def forward(self, eeg: Tensor) -> Tensor:
        x = eeg.transpose(1, 2)
        if self.pos_encoder is not None and self.positional:
            x = self.pos_encoder(x)
        out: Tensor = self.transformer_encoder(x).transpose(1, 2)
        return out


class _Sinusoids(nn.Module):
    """Sinusoids over tokens (Vaswani et al. 2017, section 3.5) added to (batch, tokens, dim)."""

    pe: Tensor

    def __init__(self, dim: int, persistent: bool, batch_first: bool):
        super().__init__()
        angle = torch.arange(_LONGEST)[:, None] * torch.exp(torch.arange(0, dim, 2) * (-math.log(10000.0) / dim))
        pe = torch.zeros(_LONGEST, dim)
        pe[:, 0::2], pe[:, 1::2] = angle.sin(), angle.cos()[:, : dim // 2]
        self.register_buffer("pe", pe[None] if batch_first else pe, persistent)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.pe.view(_LONGEST, -1)[: x.shape[1]]
