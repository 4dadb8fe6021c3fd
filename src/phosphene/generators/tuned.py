"""A stock U-Net of which cross-attention and little else is trained, and which reads decoded tokens for text states.

SYNAPSE, stage 2 (arXiv 2511.17547; names and counts from its released code).
"""

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from phosphene.errors import PhospheneError
from phosphene.generators.base import Conditioning
from phosphene.generators.diffusion import Diffusion, rebuilt

#: as released; of a U-Net of Stable Diffusion they find the cross-attention and its norm, the time embedding, and of
#: each residual block the projection of the time embedding and the second norm
PUBLISHED = ("attn2", "time", "norm2")
#: ours: the cross-attention and its norm alone
CROSS_ATTENTION = ("attn2", r"transformer_blocks\.\d+\.norm2")


class SplitAttention(nn.Module):
    """Cross-attention to text states and, with keys and values of its own, to the tokens that follow them.

    An attention processor of diffusers. The stock one for image prompts reads such tokens from a tuple that a U-Net
    makes of image embeddings alone, under other names.

    Parameters
    ----------
    attention : the layer that it is for; the new keys and values start as copies of its own.
    n_adapter : how many of the last states have keys and values of their own.
    scale : weight of what they add; 0 leaves the stock layer.
    """

    def __init__(self, attention: Any, n_adapter: int = 4, scale: float = 1.0):
        super().__init__()
        if attention.group_norm is not None or attention.norm_cross or attention.residual_connection:
            raise PhospheneError(
                "a cross-attention with norms of its own cannot be split: take the U-Net of mini, sd15 or sd21"
            )
        self.n_adapter, self.scale = n_adapter, scale
        self.to_k_ip = copy.deepcopy(attention.to_k)
        self.to_v_ip = copy.deepcopy(attention.to_v)

    def forward(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """(batch, n_places, width) states after attention to (batch, n_tokens + n_adapter, dim)."""
        if attention_mask is not None:
            raise PhospheneError("the tokens of a tuned U-Net take no mask: leave encoder_attention_mask out")

        def heads(states: Tensor) -> Tensor:
            return states.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        own, added = encoder_hidden_states[:, : -self.n_adapter], encoder_hidden_states[:, -self.n_adapter :]
        query = heads(attn.to_q(hidden_states))
        read = F.scaled_dot_product_attention(query, heads(attn.to_k(own)), heads(attn.to_v(own)))
        if self.scale:
            keys, values = heads(self.to_k_ip(added)), heads(self.to_v_ip(added))
            read = read + self.scale * F.scaled_dot_product_attention(query, keys, values)
        out: Tensor = attn.to_out[1](attn.to_out[0](read.transpose(1, 2).flatten(2)))
        return out


class TunedUNet(nn.Module):
    """(batch, channels, height, width) latents with noise, their times and a latent of EEG -> what the U-Net predicts.

    The trained parameters are registered, so that ``state_dict``, optimisers, averages and copies between processes
    hold them alone: ``tuned.<name in the U-Net>`` and ``adapter.<name>``; 108,052,608 for Stable Diffusion 2.1 as
    released. The rest is frozen and never in training mode; nor is the whole U-Net, whose dropout is none.

    Parameters
    ----------
    unet : a stock `UNet2DConditionModel` without an image-prompt adapter; it is copied.
    n_adapter : tokens that the adapter adds; 0 trains the U-Net without an adapter.
    scale : weight of what the added tokens bring to each cross-attention.
    trainable : regular expressions sought in the names of the U-Net's parameters. The default is the released choice,
        time embeddings and norms of residual blocks among it; `CROSS_ATTENTION` is a narrower one.
    checkpointing : recompute activations in the backward pass: less memory, more time, the same gradients.

    Raises
    ------
    PhospheneError : a U-Net that reads more than one kind of state, or no parameter that is to be trained.
    """

    def __init__(
        self,
        unet: Any,
        n_adapter: int = 4,
        scale: float = 1.0,
        trainable: Sequence[str] = PUBLISHED,
        checkpointing: bool = False,
    ):
        super().__init__()
        if n_adapter < 0:
            raise PhospheneError(f"n_adapter is {n_adapter}: give a number of tokens, or 0 for no adapter")
        dim = unet.config.cross_attention_dim
        if not isinstance(dim, int) or unet.config.addition_embed_type or unet.encoder_hid_proj is not None:
            raise PhospheneError(
                "only a U-Net that reads text states alone can be tuned: take one such as that of mini, sd15 or sd21, "
                "without an image-prompt adapter (pipeline.unload_ip_adapter())"
            )
        own = copy.deepcopy(unet).requires_grad_(False)
        chosen = [name for name, _ in own.named_parameters() if any(re.search(part, name) for part in trainable)]
        self.dim, self.n_adapter = dim, n_adapter
        if n_adapter:
            processors = dict(own.attn_processors)
            cross = [name for name in processors if name.endswith("attn2.processor")]
            for name in cross:
                layer = own.get_submodule(name.removesuffix(".processor"))
                processors[name] = SplitAttention(layer, n_adapter, scale)
                chosen += [f"{name}.to_k_ip.weight", f"{name}.to_v_ip.weight"]
            own.set_attn_processor(processors)
        if not chosen:
            raise PhospheneError(f"no parameter of the U-Net is named like {list(trainable)}: change trainable")
        self._whole = (own.eval(),)  # in a tuple, so that the frozen part is not registered
        self.tuned = nn.Module()
        for name in chosen:
            place, leaf = _place(self.tuned, name), name.rpartition(".")[2]
            place.register_parameter(leaf, own.get_parameter(name).requires_grad_(True))
        weight = own.get_parameter(chosen[0])
        self.adapter: Any = None
        if n_adapter:
            layers = nn.Linear(dim, n_adapter * dim), nn.Unflatten(1, (n_adapter, dim)), nn.LayerNorm(dim)
            self.adapter = nn.Sequential(*layers).to(weight)
        if checkpointing:
            own.enable_gradient_checkpointing()
        self.register_load_state_dict_post_hook(_tie)

    @property
    def unet(self) -> Any:
        """The whole U-Net, in evaluation mode, whose trained parameters are those of this module."""
        return self._whole[0]

    def tokens(self, latent: Tensor) -> Tensor:
        """What the cross-attention reads: a latent, and what the adapter makes of its mean over tokens.

        Parameters
        ----------
        latent : (batch, n_tokens, dim); zeros are no condition, of which the adapter still makes tokens.

        Returns
        -------
        (batch, n_tokens + n_adapter, dim)

        Raises
        ------
        PhospheneError : a latent of another width.
        """
        if latent.ndim != 3 or latent.shape[2] != self.dim or 0 in latent.shape[1:]:
            raise PhospheneError(f"a latent has shape {tuple(latent.shape)}: give (batch, n_tokens, {self.dim})")
        if self.adapter is None:
            return latent.to(self.unet.device, self.unet.dtype)
        latent = latent.to(self.adapter[0].weight)
        return torch.cat([latent, self.adapter(latent.mean(1))], 1)

    def forward(self, noisy: Tensor, time: Tensor, latent: Tensor) -> Tensor:
        """The prediction.

        Parameters
        ----------
        noisy : (batch, channels, height, width) latents with noise, scaled as the U-Net reads them.
        time : (batch,) of the scheduler.
        latent : (batch, n_tokens, dim)

        Returns
        -------
        (batch, channels, height, width)
        """
        predicted: Tensor = self.unet(noisy, time, encoder_hidden_states=self.tokens(latent)).sample
        return predicted

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "TunedUNet":
        super()._apply(fn, recurse)
        self.unet._apply(fn)
        _tie(self)
        return self


class TunedDiffusion(Diffusion):
    """A diffusion backbone whose U-Net is a `TunedUNet`: it draws from the tokens that this makes.

    Its weights are shared where device and precision are the backbone's, else copied. Guidance leads away from what the
    U-Net makes of no condition, unless ``negative_tokens`` are given.

    Parameters
    ----------
    frozen : the generator whose other components are shared.
    unet : as trained.
    """

    accepts = frozenset({"tokens", "negative_tokens", "init", "strength"})

    def __init__(self, frozen: Diffusion, unet: TunedUNet):
        self.__dict__ |= frozen.__dict__
        pipe, own = frozen.pipeline, unet.unet
        for what in ("in_channels", "out_channels", "cross_attention_dim"):
            if own.config[what] != pipe.unet.config[what]:
                raise PhospheneError(
                    f"the tuned U-Net has {what} {own.config[what]} and that of backbone '{self.backbone}' "
                    f"{pipe.unet.config[what]}: tune the U-Net of this backbone"
                )
        if (own.device, own.dtype) != (pipe.unet.device, pipe.unet.dtype):
            own = copy.deepcopy(own).to(pipe.unet.device, pipe.unet.dtype)
        self.network = unet
        self.pipeline = rebuilt(pipe, type(pipe), unet=own)

    def __call__(
        self, conditioning: Conditioning, *, n: int = 1, seed: int = 0, numbers: Sequence[int] | None = None
    ) -> list[list[Image.Image]]:
        self.check(conditioning)
        self._fit_tokens(conditioning)
        shown, n_adapter = conditioning.tokens, self.network.n_adapter
        if shown is not None and conditioning.negative_tokens is None:
            if shown.shape[1] <= n_adapter:
                raise PhospheneError(
                    f"{shown.shape[1]} tokens of which {n_adapter} are the adapter's: give TunedUNet.tokens(latent)"
                )
            with torch.no_grad():
                none = self.network.tokens(torch.zeros(1, shown.shape[1] - n_adapter, shown.shape[2]))[0]
            conditioning = replace(conditioning, negative_tokens=none.to(shown.device, shown.dtype))
        return super().__call__(conditioning, n=n, seed=seed, numbers=numbers)


def _place(root: nn.Module, name: str) -> nn.Module:
    """The module that holds a parameter of this name, made where it is missing."""
    for part in name.split(".")[:-1]:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    return root


def _tie(module: Any, _: Any = None) -> None:
    """The U-Net's trained parameters are the module's own, also after these were replaced."""
    for name, parameter in module.tuned.named_parameters():
        path, _, leaf = name.rpartition(".")
        setattr(module.unet.get_submodule(path), leaf, parameter)
