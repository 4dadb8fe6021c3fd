"""What training a tuned U-Net takes of an accelerator's memory, estimated from shapes: no weights, no accelerator."""

import copy
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from phosphene.errors import PhospheneError
from phosphene.generators.tuned import TunedUNet


@dataclass(frozen=True)
class Memory:
    """Bytes of one training step.

    Parameters
    ----------
    weights : of the whole U-Net and the adapter.
    optimiser : AdamW's two moments of what is trained.
    average : of what is trained, wherever it is kept (as released, on the CPU).
    step : the most that activations, gradients and what is computed on the way take at one time.
    """

    weights: int
    optimiser: int
    average: int
    step: int

    @property
    def total(self) -> int:
        """Of the accelerator, the average left on the CPU."""
        return self.weights + self.optimiser + self.step


def training_memory(
    unet: TunedUNet, batch_size: int = 8, side: int = 64, n_tokens: int = 77, bfloat16: bool = True
) -> Memory:
    """An estimate, ours: every tensor that a training step makes is counted for as long as something holds it.

    Attention is taken to be computed in pieces (flash attention), and under bfloat16 norms in float32, as on CUDA.
    The autoencoder and the encoder of EEG, CUDA's own share and what its allocator leaves unused come on top.

    Parameters
    ----------
    unet : on the meta device, ``checkpointing`` as it will be trained.
    batch_size, n_tokens : of latents of EEG; ``batch_size`` pictures at a time.
    side : of the pictures' latents; an eighth of the pixels' for Stable Diffusion.
    bfloat16 : under autocast, the weights in float32 as they are; else all is float32.

    Raises
    ------
    PhospheneError : a U-Net with weights.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    if unet.unet.device.type != "meta":
        raise PhospheneError("the estimate is made without weights: build the U-Net under torch.device('meta')")
    net, channels = copy.deepcopy(unet), int(unet.unet.config.in_channels)
    with FakeTensorMode(allow_non_fake_inputs=True):
        net.to_empty(device="cpu")
        known = list(dict.fromkeys([*net.unet.parameters(), *net.parameters()]))
        trained = size_of(p for p in known if p.requires_grad)
        noisy, time = torch.zeros(batch_size, channels, side, side), torch.zeros(batch_size)
        latent = torch.zeros(batch_size, n_tokens, net.dim)
        for part in [*net.unet.modules(), *net.modules()] if bfloat16 else ():
            if isinstance(part, nn.GroupNorm | nn.LayerNorm):  # the CPU's autocast leaves them in bfloat16
                part.register_forward_pre_hook(lambda _, given: (given[0].float(),))
        with Peak(known) as peak:
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                predicted = net(noisy, time, latent)
            predicted.float().square().mean().backward()
    return Memory(size_of(known), 2 * trained, trained, peak.most)


def size_of(tensors: Iterable[Tensor]) -> int:
    """Bytes of tensors that share no memory."""
    return sum(t.numel() * t.element_size() for t in tensors)


class Peak(TorchDispatchMode):
    """Counts the bytes of all tensors that are made meanwhile: ``now``, and the ``most`` at one time.

    Parameters
    ----------
    known : tensors whose memory was there before.
    """

    def __init__(self, known: Iterable[Tensor] = ()):
        super().__init__()
        self.now = self.most = 0
        self._seen = {t.untyped_storage()._cdata for t in known}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in self._seen:
                storage = tensor.untyped_storage()
                self._seen.add(storage._cdata)
                self.now += storage.nbytes()
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())
        return made

    def _gone(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size
