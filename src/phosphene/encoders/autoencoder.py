"""SYNAPSE's autoencoder: EEG to tokens of a text encoder's shape, and back.

It maps to tokens, not to a vector, and so is no registered encoder.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phosphene.encoders.base import Dropout, Encoder
from phosphene.errors import PhospheneError
from phosphene.settings import Count, DropoutRate, Hertz

WIDTHS = (64, 128, 256, 512, 1024)  # features of each level, as published
#: ours: trains in minutes on two cores, for tokens of the embedded backbone
SMALL: dict[str, Any] = {"dim": 128, "widths": (16, 32, 64, 128), "n_heads": 4, "groups": 8}
_WIDER = 2  # hidden features of a feed-forward layer, of those it reads


def tokens_per_level(n_chans: int, n_levels: int) -> tuple[int, ...]:
    """Tokens of each level, from one for every channel to one for all (ours; 128 and 5 give the published).

    Each level has at most half of the one before, and at most four times the next: 63 -> 32 -> 16 -> 4 -> 1.
    """
    tokens = [n_chans]
    for left in reversed(range(n_levels - 1)):
        tokens.append(min(4**left, -(-tokens[-1] // 2)))
    return tuple(tokens)


class TokenEncoder(Encoder):
    """The encoder of SYNAPSE (arXiv 2511.17547, stage 1): ``(batch, n_chans, n_times)`` -> ``(batch, n_tokens, dim)``.

    A channel is a token and its samples are the features. One linear map of samples; at each level residual blocks,
    position embeddings, a transformer block, and a linear map to fewer tokens. What every level holds, mapped to
    ``dim`` features, is put side by side (214 tokens as published), mapped to ``n_tokens`` by three linear maps of
    tokens with ReLU between, and attended once more.

    Parameters
    ----------
    n_chans, n_times, sfreq, chs_info : see `Encoder`. Published are 128 and 440.
    n_tokens, dim : tokens and their features; 77 and 1024, as published, are those of a text encoder.
    widths : features of each level, of two or more.
    tokens : tokens of each level, the first of n_chans; None takes `tokens_per_level`.
    n_layer : residual blocks of each level: 2 in the released weights, 3 in the settings beside them.
    n_heads : 64 in the released weights, 16 in the settings beside them. It changes no tensor's shape.
    dropout : of residual blocks, attention and feed-forward layers.
    groups : of the group norms.
    global_attention : the last transformer block, which the printed parameter count leaves out.

    Notes
    -----
    State-dict names and shapes are the published ones; with the defaults, 163 tensors and 27,590,878 parameters.
    Logits of the attention are not scaled; both layer norms are over tokens and features jointly.
    """

    def __init__(
        self,
        n_chans: int,
        n_times: int,
        n_tokens: int = 77,
        dim: int = 1024,
        sfreq: float | None = None,
        chs_info: Sequence[dict[str, Any]] | None = None,
        *,
        widths: Sequence[int] = WIDTHS,
        tokens: Sequence[int] | None = None,
        n_layer: int = 2,
        n_heads: int = 64,
        dropout: float = 0.5,
        groups: int = 32,
        global_attention: bool = True,
    ):
        super().__init__(n_chans, n_times, n_tokens * dim, sfreq, chs_info)
        self.n_tokens, self.dim = n_tokens, dim
        levels = _checked(
            n_chans, widths, tokens, n_heads, groups, n_times=n_times, n_tokens=n_tokens, dim=dim, n_layer=n_layer
        )
        self.posEmbed = _positions(widths, levels)
        self.in_layer = Point(n_times, widths[0], bias=True)
        self.out_layer = Point(widths[-1], dim, bias=True)
        self.skips = nn.ModuleList(Point(width, dim) for width in widths)
        mixed = [Mix(sum(levels) + levels[-1], dim), nn.ReLU(), Mix(dim, dim), nn.ReLU(), Mix(dim, n_tokens)]
        if global_attention:  # its hidden features are counted by its tokens, not by its features
            mixed.append(Transformer(dim, n_tokens, n_heads, _WIDER * n_tokens, dropout))
        self.skips_agg = nn.Sequential(*mixed)
        self.main_flow = nn.ModuleList(
            _level(before, width, n, n_layer, n_heads, dropout, groups)
            for before, width, n in zip((widths[0], *widths), widths, levels, strict=False)
        )
        self.downs = _resizes(levels)

    def forward(self, eeg: Tensor) -> Tensor:
        """(batch, n_chans, n_times) -> (batch, n_tokens, dim)."""
        self.check(eeg)
        x, held = self.in_layer(eeg), []
        for i, skip in enumerate(self.skips):
            x = _through(self.main_flow[i], x, self.posEmbed[i])
            held.append(skip(x))
            if i < len(self.downs):
                x = self.downs[i]["proj"](x)  # type: ignore[index]
        latent: Tensor = self.skips_agg(torch.cat([*held, self.out_layer(x)], dim=1))
        return latent


class TokenDecoder(nn.Module):
    """The decoder of SYNAPSE: ``(batch, n_tokens, dim)`` -> ``(batch, n_chans, n_times)``, the encoder's levels back.

    Parameters
    ----------
    n_chans, ..., groups : see `TokenEncoder`; the same values, in the same order.

    Notes
    -----
    With the defaults, 143 tensors and 21,869,036 parameters. It reads the tokens alone.
    """

    def __init__(
        self,
        n_chans: int,
        n_times: int,
        n_tokens: int = 77,
        dim: int = 1024,
        *,
        widths: Sequence[int] = WIDTHS,
        tokens: Sequence[int] | None = None,
        n_layer: int = 2,
        n_heads: int = 64,
        dropout: float = 0.5,
        groups: int = 32,
    ):
        super().__init__()
        self.n_tokens, self.dim = n_tokens, dim
        levels = _checked(
            n_chans, widths, tokens, n_heads, groups, n_times=n_times, n_tokens=n_tokens, dim=dim, n_layer=n_layer
        )
        tokens, widths = (n_tokens, *levels[-2::-1]), widths[::-1]
        self.posEmbed = _positions(widths, tokens)
        self.in_layer = Point(dim, widths[0], bias=True)
        self.out_layer = Point(widths[-1], n_times, bias=True)
        self.main_flow = nn.ModuleList(
            _level(before, width, n, n_layer, n_heads, dropout, groups)
            for before, width, n in zip((widths[0], *widths), widths, tokens, strict=False)
        )
        self.ups = _resizes(tokens)

    def forward(self, latent: Tensor) -> Tensor:
        """(batch, n_tokens, dim) -> (batch, n_chans, n_times)."""
        if latent.ndim != 3 or latent.shape[1:] != (self.n_tokens, self.dim):
            raise PhospheneError(
                f"the decoder was built for (batch, {self.n_tokens}, {self.dim}) and was given {tuple(latent.shape)}: "
                "give tokens of the encoder it was trained with"
            )
        x = self.in_layer(latent)
        for i, level in enumerate(self.main_flow):
            x = _through(level, x, self.posEmbed[i])
            if i < len(self.ups):
                x = self.ups[i]["proj"](x)  # type: ignore[index]
        eeg: Tensor = self.out_layer(x)
        return eeg


class Autoencoder(nn.Module):
    """Both halves of SYNAPSE's first stage (arXiv 2511.17547), under the published names `Encoder` and `Decoder`.

    Parameters
    ----------
    n_chans, ..., global_attention : see `TokenEncoder`. ``Autoencoder(128, 440)`` is the released one, and
        ``Autoencoder(n_chans, n_times, **SMALL)`` a small one of our own.
    """

    def __init__(
        self,
        n_chans: Count,
        n_times: Count,
        n_tokens: Count = 77,
        dim: Count = 1024,
        sfreq: Hertz | None = None,
        chs_info: Sequence[dict[str, Any]] | None = None,
        *,
        widths: Sequence[Count] = WIDTHS,
        tokens: Sequence[Count] | None = None,
        n_layer: Count = 2,
        n_heads: Count = 64,
        dropout: DropoutRate = 0.5,
        groups: Count = 32,
        global_attention: bool = True,
    ):
        super().__init__()
        shared: dict[str, Any] = {
            "widths": widths,
            "tokens": tokens,
            "n_layer": n_layer,
            "n_heads": n_heads,
            "dropout": dropout,
            "groups": groups,
        }
        sizes = (n_chans, n_times, n_tokens, dim)
        self.Encoder = TokenEncoder(*sizes, sfreq, chs_info, **shared, global_attention=global_attention)
        self.Decoder = TokenDecoder(*sizes, **shared)

    def forward(self, eeg: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, n_chans, n_times) -> tokens (batch, n_tokens, dim), and the EEG rebuilt from them, like ``eeg``."""
        latent = self.Encoder(eeg)
        return latent, self.Decoder(latent)


class Point(nn.Module):
    """A convolution of kernel 1 under its published name, as a product: (batch, tokens, n_in) -> (..., n_out)."""

    def __init__(self, n_in: int, n_out: int, bias: bool = False):
        super().__init__()
        self.conv = nn.Conv1d(n_in, n_out, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        if _as_published(self, x):
            return self.conv(x.mT.contiguous()).mT.contiguous()
        return F.linear(x, self.conv.weight.squeeze(2), self.conv.bias)


class Mix(nn.Module):
    """A linear map of tokens, no bias: (batch, n_in, features) -> (batch, n_out, features)."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.linear = nn.Linear(n_in, n_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear.weight @ x


class Block(nn.Module):
    """Twice group norm, SiLU and a map of features, dropout before the second; plus a map of what came in."""

    def __init__(self, n_in: int, n_out: int, dropout: float, groups: int):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(groups, n_in, 1e-6), nn.GroupNorm(groups, n_out, 1e-6)
        self.conv1, self.conv2, self.shortcut = Point(n_in, n_out), Point(n_out, n_out), Point(n_in, n_out)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(x.mT)).mT)
        hidden = self.conv2(self.dropout(F.silu(self.norm2(hidden.mT))).mT)
        out: Tensor = hidden + self.shortcut(x)
        return out


class Transformer(nn.Module):
    """Norm, attention, norm, feed-forward; what is normalised, not what came in, is added to. Logits are not scaled."""

    def __init__(self, dim: int, n_tokens: int, n_heads: int, hidden: int, dropout: float):
        super().__init__()
        self.mha = nn.ModuleDict({name: Point(dim, dim) for name in ("wq", "wk", "wv", "out")})
        self.ffn = nn.ModuleDict({"conv1": Point(dim, hidden, bias=True), "conv2": Point(hidden, dim, bias=True)})
        self.layernorm1 = nn.LayerNorm((dim, n_tokens), 1e-6)
        self.layernorm2 = nn.LayerNorm((dim, n_tokens), 1e-6)
        self.dropout, self.n_heads = Dropout(dropout), n_heads

    def forward(self, x: Tensor) -> Tensor:
        x = self.layernorm1(x.mT).mT
        # batch, heads, tokens, features of a head
        q, k, v = (self.mha[name](x).unflatten(2, (self.n_heads, -1)).transpose(1, 2) for name in ("wq", "wk", "wv"))
        if _as_published(self, x):
            attended = (q @ k.mT).softmax(dim=-1) @ v
        else:
            attended = F.scaled_dot_product_attention(q, k, v, scale=1.0)
        x = self.layernorm2((x + self.dropout(self.mha["out"](attended.transpose(1, 2).flatten(2)))).mT).mT
        hidden = self.dropout(F.gelu(self.ffn["conv1"](x)))
        out: Tensor = x + self.dropout(self.ffn["conv2"](hidden))
        return out


def _as_published(module: nn.Module, x: Tensor) -> bool:
    """Whether to compute in the published order: rounding, which logits without a scale amplify, is then the same."""
    return not module.training and x.device.type == "cpu"


def _level(
    before: int, width: int, n_tokens: int, n_layer: int, n_heads: int, dropout: float, groups: int
) -> nn.ModuleList:
    blocks = [Block(width if i else before, width, dropout, groups) for i in range(n_layer)]
    return nn.ModuleList([*blocks, Transformer(width, n_tokens, n_heads, _WIDER * width, dropout)])


def _through(level: nn.Module, x: Tensor, positions: Tensor) -> Tensor:
    """(batch, tokens, features) through the blocks and, with positions added, the transformer of one level."""
    *blocks, transformer = level.children()
    for block in blocks:
        x = block(x)
    out: Tensor = transformer(x + positions.mT)
    return out


def _positions(widths: Sequence[int], tokens: Sequence[int]) -> nn.ParameterList:
    tables = [torch.empty(1, width, n) for width, n in zip(widths, tokens, strict=True)]
    return nn.ParameterList(nn.init.trunc_normal_(table, std=0.02) for table in tables)


def _resizes(tokens: Sequence[int]) -> nn.ModuleList:
    return nn.ModuleList(nn.ModuleDict({"proj": Mix(a, b)}) for a, b in pairwise(tokens))


def _checked(
    n_chans: int, widths: Sequence[int], tokens: Sequence[int] | None, n_heads: int, groups: int, **sizes: int
) -> tuple[int, ...]:
    """The tokens of each level, once everything fits."""
    sizes |= {"n_chans": n_chans, "n_heads": n_heads, "groups": groups}
    for name, value in sizes.items():
        if value < 1:
            raise PhospheneError(f"{name} is {value}: give 1 or more")
    if len(widths) < 2:
        raise PhospheneError(f"widths {tuple(widths)}: give two or more, the features of each level")
    if any(width < 1 or width % groups or width % n_heads for width in (*widths, sizes["dim"])):
        raise PhospheneError(
            f"widths {tuple(widths)} and dim {sizes['dim']}: give multiples of groups ({groups}) and "
            f"n_heads ({n_heads}), or lower these"
        )
    levels = tokens_per_level(n_chans, len(widths)) if tokens is None else tuple(tokens)
    if len(levels) != len(widths) or levels[0] != n_chans or min(levels) < 1:
        raise PhospheneError(
            f"tokens {levels}: give one number for each of {len(widths)} widths, the first of them n_chans ({n_chans})"
        )
    return levels
