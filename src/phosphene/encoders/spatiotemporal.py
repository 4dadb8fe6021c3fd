"""The spatio-temporal encoder: attention across channels, then across time."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from phosphene.encoders.base import Encoder
from phosphene.errors import PhospheneError
from phosphene.registry import register
from phosphene.settings import Count, DropoutRate, Duration, Hertz, ZeroOrMore


@register("encoder", "spatiotemporal")
class SpatioTemporal(Encoder):
    """Transformer with a spatial and a temporal part, as arXiv 2507.07157 names them; its sizes are not public: ours.

    (batch, n_chans, n_times) -> every channel's samples cut into patches and embedded -> in each patch, ``n_sources``
    learned queries attend to the channels, beside a signed linear map of the channels that attention, being convex,
    cannot make -> one token for each patch -> attention across patches -> LayerNorm, Linear.

    Parameters
    ----------
    n_chans, n_times, n_outputs, sfreq, chs_info : see `Encoder`; any number of channels and samples.
    patch : length of a patch, s (samples of 1/100 s where ``sfreq`` is not known).
    dim : width of a channel's patch.
    n_sources : queries of the spatial part.
    width, depth, n_heads : of the temporal part.
    dropout : of tokens, attention and feed-forward layers.
    input_dropout : of whole channels.
    n_subjects : rows of the subject embedding, which is one more token; 0 for none.
    """

    def __init__(
        self,
        n_chans: Count,
        n_times: Count,
        n_outputs: Count,
        sfreq: Hertz | None = None,
        chs_info: Sequence[dict[str, Any]] | None = None,
        *,
        patch: Duration = 0.04,
        dim: Count = 16,
        n_sources: Count = 48,
        width: Count = 128,
        depth: ZeroOrMore = 2,
        n_heads: Count = 4,
        dropout: DropoutRate = 0.3,
        input_dropout: DropoutRate = 0.1,
        n_subjects: ZeroOrMore = 0,
    ):
        super().__init__(n_chans, n_times, n_outputs, sfreq, chs_info)
        self.sound(width=width, n_heads=n_heads)
        length = min(n_times, max(1, round(patch * (sfreq or 100.0))))
        self.embed = nn.Conv2d(1, dim, (1, length), (1, length))
        n_patches = (n_times - length) // length + 1
        self.channel = nn.Parameter(0.5 * torch.randn(n_chans, dim))
        self.query = nn.Parameter(torch.randn(n_sources, dim) / dim**0.5)
        self.mix = nn.Linear(n_chans, n_sources, bias=False)
        self.token = nn.Linear(n_sources * dim, width)
        self.place = nn.Parameter(0.02 * torch.randn(n_patches, width))
        self.subject = nn.Embedding(n_subjects, width) if n_subjects else None
        layer = nn.TransformerEncoderLayer(
            width, n_heads, 2 * width, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.time = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.channels = nn.Dropout2d(input_dropout)
        self.dropout = nn.Dropout(dropout)
        tokens = n_patches + (1 if n_subjects else 0)
        self.out = nn.Sequential(nn.LayerNorm(tokens * width), nn.Linear(tokens * width, n_outputs))

    @classmethod
    def sound(cls, *, width: int, n_heads: int, **others: Any) -> None:
        """Refuse arguments that do not go together."""
        if width % n_heads:
            raise PhospheneError(f"width ({width}) must be a multiple of n_heads ({n_heads})")

    def forward(self, eeg: Tensor, subject: Tensor | None = None) -> Tensor:
        """(batch, n_chans, n_times) -> (batch, n_outputs); ``subject`` (batch,) rows, -1 for one that is not known."""
        self.check(eeg)
        kept = self.channels(eeg[:, :, :, None])[..., 0]
        patches = self.embed(kept[:, None]).permute(0, 3, 2, 1)  # batch, patches, channels, dim
        n, p, _, _ = patches.shape
        attention = ((patches + self.channel) @ self.query.T).softmax(dim=2)  # batch, patches, channels, sources
        spatial = (attention + self.mix.weight.T).transpose(2, 3) @ patches
        tokens = self.dropout(self.token(spatial.reshape(n, p, -1)) + self.place)
        if self.subject is not None:
            tokens = torch.cat([tokens, self._who(subject, n)[:, None]], dim=1)
        embedding: Tensor = self.out(self.time(tokens).flatten(1))
        return embedding

    def _who(self, subject: Tensor | None, n: int) -> Tensor:
        """The subject's token; the mean over subjects for one that is not known."""
        assert self.subject is not None
        mean = self.subject.weight.mean(dim=0).expand(n, -1)
        if subject is None:
            return mean
        known = subject >= 0
        return torch.where(known[:, None], self.subject(subject.clamp(min=0)), mean)
