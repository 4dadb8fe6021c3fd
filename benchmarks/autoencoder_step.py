"""What one training step of SYNAPSE's autoencoder costs: our products beside the published order of operations.

    OMP_NUM_THREADS=1 python benchmarks/autoencoder_step.py [--configuration small] [--n-chans 128] [--n-times 440]

The published order keeps features before tokens, takes convolutions of kernel 1 for its maps of features, linear
layers of the transposed for its maps of tokens, and multiplies out its attention. Both have the same weights; outputs
are compared first, without dropout. Steps alternate; times are of the processor, the best of each; Markdown is printed.
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene.encoders.autoencoder import SMALL, Autoencoder, Block, Transformer

CONFIGURATIONS: dict[str, dict[str, Any]] = {"published": {}, "small": SMALL}


def block(module: Block, x: Tensor) -> Tensor:
    hidden = module.conv1.conv(F.silu(module.norm1(x)))
    hidden = module.conv2.conv(F.dropout(F.silu(module.norm2(hidden)), module.dropout.p, module.training))
    return hidden + module.shortcut.conv(x)


def transformer(module: Transformer, x: Tensor) -> Tensor:
    x = module.layernorm1(x)
    query, key, value = (module.mha[name].conv(x).unflatten(1, (module.n_heads, -1)) for name in ("wq", "wk", "wv"))
    attended = module.mha["out"].conv((value @ (query.mT @ key).softmax(dim=-1).mT).flatten(1, 2))
    x = module.layernorm2(x + F.dropout(attended, module.dropout.p, module.training))
    hidden = F.dropout(F.gelu(module.ffn["conv1"].conv(x)), module.dropout.p, module.training)
    return x + F.dropout(module.ffn["conv2"].conv(hidden), module.dropout.p, module.training)


def level(half: Any, i: int, x: Tensor) -> Tensor:
    *blocks, last = half.main_flow[i]
    for module in blocks:
        x = block(module, x)
    return transformer(last, x + half.posEmbed[i])


def published_order(model: Autoencoder, eeg: Tensor) -> tuple[Tensor, Tensor]:
    """(batch, n_times, n_chans) -> latent (batch, dim, n_tokens) and reconstruction, as ``eeg``."""
    encoder, decoder, held = model.Encoder, model.Decoder, []
    x = encoder.in_layer.conv(eeg)
    for i, skip in enumerate(encoder.skips):
        x = level(encoder, i, x)
        held.append(skip.conv(x))
        x = encoder.downs[i]["proj"].linear(x) if i < len(encoder.downs) else x
    x = torch.cat([*held, encoder.out_layer.conv(x)], dim=2)
    *mixed, last = encoder.skips_agg
    for module in mixed:
        x = module.linear(x) if hasattr(module, "linear") else module(x)
    latent = transformer(last, x)
    x = decoder.in_layer.conv(latent)
    for i in range(len(decoder.main_flow)):
        x = level(decoder, i, x)
        x = decoder.ups[i]["proj"].linear(x) if i < len(decoder.ups) else x
    return latent, decoder.out_layer.conv(x)


def step(forward: Callable[[Tensor], tuple[Tensor, Tensor]], eeg: Tensor, model: Autoencoder) -> float:
    """Seconds of the processor for both passes."""
    began = time.process_time()
    latent, rebuilt = forward(eeg)
    (latent.square().mean() + F.mse_loss(rebuilt, eeg)).backward()
    spent = time.process_time() - began
    model.zero_grad()
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configuration", choices=list(CONFIGURATIONS), default="small")
    parser.add_argument("--n-chans", type=int, default=128)
    parser.add_argument("--n-times", type=int, default=440)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=5)
    given = parser.parse_args()
    torch.manual_seed(0)
    eeg = torch.randn(given.batch, given.n_chans, given.n_times)
    model = Autoencoder(given.n_chans, given.n_times, **CONFIGURATIONS[given.configuration], dropout=0.0)
    turned = eeg.mT.contiguous()
    with torch.inference_mode():
        both = zip(model(eeg), published_order(model, turned), strict=True)
        off = max(float((a - b.mT).abs().max()) for a, b in both)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    times: dict[str, list[float]] = {"ours": [], "published order": []}
    for _ in range(1 + given.steps):
        times["ours"].append(step(model, eeg, model))
        times["published order"].append(step(lambda x: published_order(model, x), turned, model))
    ours, naive = (min(spent[1:]) for spent in times.values())
    print(
        f"{given.configuration}, batch {given.batch} of {given.n_chans} x {given.n_times}, "
        f"{torch.get_num_threads()} thread(s); outputs differ by {off:.1e} at most\n"
    )
    print("| order | s for one step | of the published |\n|---|---|---|")
    print(f"| ours | {ours:.3f} | {ours / naive:.2f} |\n| published | {naive:.3f} | 1.00 |")


if __name__ == "__main__":
    main()
