"""How long a training step of ATM and NICE takes, against the naive order of their layers in the same run.

    OMP_NUM_THREADS=2 python benchmarks/encoder_step.py [--batch 64 256] [--repeats 7]

A step is forward, contrastive loss, backward and AdamW, on 63 channels and 250 samples (1,024 outputs). Both sides have
the same parameters; their outputs are compared first, dropout off. They are timed in turn, and each pair of turns gives
a ratio; medians are shown. "naive" calls the layers one after the other, as published: convolution, pooling, batch
norm, ELU, convolution, ...; and, in ATM, three projections, attention by einsum, a feed-forward part of convolutions.
"""

import argparse
import copy
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from phosphene.encoders.base import Dropout, Encoder
from phosphene.losses import info_nce
from phosphene.registry import build

N_CHANS, N_TIMES, N_OUTPUTS = 63, 250, 1024


class NaiveConvolution(nn.Module):
    """`TSConv`'s layers, one after the other."""

    def __init__(self, conv: nn.Module):
        super().__init__()
        self.tsconv, self.projection = conv.tsconv, conv.projection

    def forward(self, eeg: Tensor) -> Tensor:
        return self.projection(self.tsconv(eeg[:, None])).squeeze(2).transpose(1, 2)


class NaiveLayer(nn.Module):
    """A transformer layer of ATM as published."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer, self.dropout = layer, nn.Dropout(layer.dropout.p)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.layer.attention
        query, key, value = (
            parts[f"{name}_projection"](x).unflatten(2, (self.layer.n_heads, -1)) for name in ("query", "key", "value")
        )
        scores = torch.einsum("blhe,bshe->bhls", query, key) * query.shape[-1] ** -0.5
        read = torch.einsum("bhls,bshe->blhe", self.dropout(scores.softmax(dim=-1)), value).flatten(2)
        x = self.layer.norm1(x + self.dropout(parts["out_projection"](read)))
        hidden = self.dropout(nn.functional.gelu(self.layer.conv1(x.transpose(1, 2))))
        return self.layer.norm2(x + self.dropout(self.layer.conv2(hidden).transpose(1, 2)))


def naive(encoder: Encoder) -> Encoder:
    """A copy of the encoder whose layers are called one after the other."""
    twin = copy.deepcopy(encoder)
    if hasattr(twin, "encoder"):
        layers = twin.encoder.encoder["attn_layers"]
        for i, layer in enumerate(layers):
            layers[i] = NaiveLayer(layer)
    twin.enc_eeg[0] = NaiveConvolution(twin.enc_eeg[0])
    for module in list(twin.modules()):
        for name, child in module.named_children():
            if isinstance(child, Dropout):
                setattr(module, name, nn.Dropout(child.p))
    return twin


class Step:
    """One encoder with its optimiser; called, it takes a training step and returns the seconds."""

    def __init__(self, encoder: Encoder, eeg: Tensor, target: Tensor, clock: Callable[[], float]):
        self.encoder, self.eeg, self.target, self.clock = encoder.train(), eeg, target, clock
        self.optimizer = torch.optim.AdamW(encoder.parameters(), lr=3e-4)

    def __call__(self) -> float:
        start = self.clock()
        info_nce(self.encoder(self.eeg), self.target, 14.3).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return self.clock() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--encoders", nargs="+", default=["nice", "atm"])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true", help="of the process, for a machine with other work")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    clock = time.process_time if given.cpu_time else time.perf_counter
    kind = "CPU time" if given.cpu_time else "time"
    print(f"{kind}, {given.threads} threads, {given.repeats} pairs, torch {torch.__version__}\n")
    print("| encoder | batch | naive, ms | ours, ms | ratio (smallest, largest) | largest difference |")
    print("|---|---|---|---|---|---|")
    for name in given.encoders:
        for batch in given.batch:
            encoder = build("encoder", name, n_chans=N_CHANS, n_times=N_TIMES, n_outputs=N_OUTPUTS)
            eeg, target = torch.randn(batch, N_CHANS, N_TIMES), torch.randn(batch, N_OUTPUTS)
            twin = naive(encoder)
            with torch.inference_mode():
                odd = float((encoder.eval()(eeg) - twin.eval()(eeg)).abs().max())
            pair = Step(twin, eeg, target, clock), Step(encoder, eeg, target, clock)
            for step in pair:
                step()
            took = np.array([[step() for step in pair] for _ in range(given.repeats)])
            ratio, (slow, fast) = took[:, 0] / took[:, 1], 1e3 * np.median(took, axis=0)
            print(
                f"| {name} | {batch} | {slow:.0f} | {fast:.0f} | **{np.median(ratio):.1f}** "
                f"({ratio.min():.1f}, {ratio.max():.1f}) | {odd:.0e} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
