"""The denoising networks of the diffusion prior: a U-Net of linear layers, and a plain residual one.

What a timestep and a condition add to a level depends on neither the noisy embedding nor each other, so both are asked
for apart (`timing`, `conditioning`): a sampler computes them once, not once for each step or row.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from phosphene.errors import PhospheneError


class Denoiser(nn.Module, ABC):
    """Base of both: (batch, n_outputs) with noise, its timestep and a condition -> the noise.

    Parameters
    ----------
    n_inputs, n_outputs : lengths of the condition and of the embedding.
    widths : of the levels or blocks.
    time_dim : length of the sinusoidal time features, cosines first.
    """

    def __init__(self, n_inputs: int, n_outputs: int, widths: Sequence[int], time_dim: int):
        super().__init__()
        if min(n_inputs, n_outputs, time_dim, *widths) < 1 or time_dim % 2:
            raise PhospheneError(
                f"a prior of {n_inputs} -> {n_outputs}, widths {list(widths)}, time_dim {time_dim}: give lengths above "
                "0 and an even time_dim"
            )
        self.time_dim = time_dim
        self.input_layer = nn.Sequential(nn.Linear(n_outputs, widths[0]), nn.LayerNorm(widths[0]), nn.SiLU())

    output_layer: nn.Linear

    @abstractmethod
    def timing(self, timestep: Tensor) -> list[Tensor]:
        """What timesteps (n,) add to each level: (n, width) each."""

    @abstractmethod
    def conditioning(self, condition: Tensor) -> list[Tensor]:
        """What conditions (n, n_inputs) add to each level: (n, width) each. No condition adds 0, not a bias."""

    @abstractmethod
    def body(self, x: Tensor, added: Sequence[Tensor]) -> Tensor:
        """(batch, widths[0]) between the input and the output layer; ``added`` is one (batch or 1, width) a level."""

    def features(self, timestep: Tensor) -> Tensor:
        """(n, time_dim) sinusoidal features of timesteps (n,)."""
        from diffusers.models.embeddings import get_timestep_embedding

        features: Tensor = get_timestep_embedding(timestep, self.time_dim, flip_sin_to_cos=True, downscale_freq_shift=0)
        return features.to(self.output_layer.weight.dtype)

    def forward(
        self, x: Tensor, timestep: Tensor, condition: Tensor | None = None, keep: Tensor | None = None
    ) -> Tensor:
        """The noise in embeddings.

        Parameters
        ----------
        x : (batch, n_outputs) embeddings with noise.
        timestep : (batch,) or (1,), 0 to 999.
        condition : (batch, n_inputs), or None for an unconditional prediction.
        keep : (batch,) bool, False where the condition is dropped; None keeps all.

        Returns
        -------
        (batch, n_outputs)
        """
        added = self.timing(timestep)
        if condition is not None:
            given = self.conditioning(condition)
            if keep is not None:
                given = [c * keep[:, None] for c in given]
            added = [t + c for t, c in zip(added, given, strict=True)]
        noise: Tensor = self.output_layer(self.body(self.input_layer(x), added))
        return noise


def _layer(before: int, after: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(before, after), nn.LayerNorm(after), nn.SiLU(), nn.Dropout(dropout))


def _times(time_dim: int, widths: Sequence[int]) -> nn.ModuleList:
    from diffusers.models.embeddings import TimestepEmbedding

    return nn.ModuleList(TimestepEmbedding(time_dim, width) for width in widths)


class PriorUNet(Denoiser):
    """The published network (ATM, arXiv 2403.07721, released code): an hourglass of linear layers with skips.

    Input layer -> down the widths -> up again, each level first adding time and condition, the way up adding what the
    way down met at that width -> output layer. A layer is Linear, LayerNorm, SiLU, dropout.

    Parameters
    ----------
    n_inputs, n_outputs, time_dim : see `Denoiser`.
    widths : from the widest level to the narrowest, two or more.
    dropout : of each layer of the hourglass; 0.1 as published in use.

    Notes
    -----
    State-dict names follow the published ones; 9,675,648 parameters for 1024 -> 1024, widths 1024 to 64, time_dim 512.
    """

    def __init__(
        self,
        n_inputs: int,
        n_outputs: int,
        widths: Sequence[int] = (1024, 512, 256, 128, 64),
        time_dim: int = 512,
        dropout: float = 0.1,
    ):
        if len(widths) < 2:
            raise PhospheneError(f"widths are {list(widths)}: a U-Net needs two or more")
        super().__init__(n_inputs, n_outputs, widths, time_dim)
        down, up = list(widths[:-1]), list(widths[:0:-1])
        self.encode_time_embedding = _times(time_dim, down)
        self.encode_cond_embedding = nn.ModuleList(nn.Linear(n_inputs, width) for width in down)
        self.encode_layers = nn.ModuleList(_layer(a, b, dropout) for a, b in pairwise(widths))
        self.decode_time_embedding = _times(time_dim, up)
        self.decode_cond_embedding = nn.ModuleList(nn.Linear(n_inputs, width) for width in up)
        self.decode_layers = nn.ModuleList(_layer(a, b, dropout) for a, b in pairwise(widths[::-1]))
        self.output_layer = nn.Linear(widths[0], n_outputs)

    def timing(self, timestep: Tensor) -> list[Tensor]:
        features = self.features(timestep)
        return [embed(features) for embed in (*self.encode_time_embedding, *self.decode_time_embedding)]

    def conditioning(self, condition: Tensor) -> list[Tensor]:
        return [embed(condition) for embed in (*self.encode_cond_embedding, *self.decode_cond_embedding)]

    def body(self, x: Tensor, added: Sequence[Tensor]) -> Tensor:
        met = []
        for layer, add in zip(self.encode_layers, added[: len(self.encode_layers)], strict=True):
            met.append(x)
            x = layer(x + add)
        for layer, add in zip(self.decode_layers, added[len(self.encode_layers) :], strict=True):
            x = layer(x + add) + met.pop()
        return x


class PriorMLP(Denoiser):
    """The published alternative: blocks of one width, each adding time and condition and keeping a residual path.

    Parameters
    ----------
    n_inputs, n_outputs, time_dim : see `Denoiser`.
    widths : of the blocks, all equal.
    dropout : of each block.

    Notes
    -----
    State-dict names follow the published ones; 8,932,352 parameters for 1024 -> 1024, 4 blocks of 1024, time_dim 512.
    """

    def __init__(
        self,
        n_inputs: int,
        n_outputs: int,
        widths: Sequence[int] = (1024, 1024, 1024, 1024),
        time_dim: int = 512,
        dropout: float = 0.1,
    ):
        if len(set(widths)) != 1:
            raise PhospheneError(
                f"widths are {list(widths)}: the blocks of the MLP are equally wide, such as [512, 512]"
            )
        super().__init__(n_inputs, n_outputs, widths, time_dim)
        self.time_embedding = _times(time_dim, widths[:1])[0]
        self.cond_embedding = nn.Linear(n_inputs, widths[0])
        self.hidden_layers = nn.ModuleList(_layer(a, a, dropout) for a in widths)
        self.output_layer = nn.Linear(widths[0], n_outputs)

    def timing(self, timestep: Tensor) -> list[Tensor]:
        return [self.time_embedding(self.features(timestep))]

    def conditioning(self, condition: Tensor) -> list[Tensor]:
        return [self.cond_embedding(condition)]

    def body(self, x: Tensor, added: Sequence[Tensor]) -> Tensor:
        for layer in self.hidden_layers:
            x = x + added[0]
            x = layer(x) + x
        return x


def published_shape(state: dict[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """Name ("unet" or "mlp") and shape of the network whose published state dict this is.

    Raises
    ------
    PhospheneError : the keys are of neither.
    """
    try:
        n_outputs = state["input_layer.0.weight"].shape[1]
        if "encode_layers.0.0.weight" in state:
            n_levels = sum(key.startswith("encode_layers.") and key.endswith(".0.weight") for key in state)
            layers = [state[f"encode_layers.{i}.0.weight"].shape for i in range(n_levels)]
            name, widths = "unet", [layers[0][1], *(shape[0] for shape in layers)]
            condition, time = state["encode_cond_embedding.0.weight"], state["encode_time_embedding.0.linear_1.weight"]
        else:
            n_blocks = sum(key.startswith("hidden_layers.") and key.endswith(".0.weight") for key in state)
            name, widths = "mlp", [state["hidden_layers.0.0.weight"].shape[0]] * n_blocks
            condition, time = state["cond_embedding.weight"], state["time_embedding.linear_1.weight"]
        return name, {
            "n_inputs": condition.shape[1],
            "n_outputs": n_outputs,
            "widths": widths,
            "time_dim": time.shape[1],
        }
    except (KeyError, IndexError):
        raise PhospheneError("these are not the weights of a published diffusion prior: give its state dict") from None


NETWORKS: dict[str, type[PriorUNet] | type[PriorMLP]] = {"unet": PriorUNet, "mlp": PriorMLP}


def default_widths(network: str, n_outputs: int) -> tuple[int, ...]:
    """The published widths scaled to the length of the embedding; those of short ones stay wide enough (ours)."""
    if network == "mlp":
        return (max(n_outputs, 256),) * 4
    return tuple(max(max(n_outputs, 256) >> i, 64) for i in range(5))
