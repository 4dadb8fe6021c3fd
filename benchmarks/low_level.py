"""From simulated EEG to `mini`'s latents: the decoder of ATM's published shapes against the small one.

    python benchmarks/low_level.py --out FOLDER [--snr-db -10] [--seeds 0 1 2] [--chans posterior] [--save PICTURES.png]

One subject of a simulated study, 1200 training pictures whose two repeats are averaged, 200 test pictures averaged
over ten. A tenth of the training pictures selects the epoch, by the loss that is trained. Controls (of the first loss)
learn from latents that are exchanged at random among the training pictures. Study and latents in FOLDER are kept; what
is printed is Markdown. R2 is against the mean latent of the training; correlation is of a picture's latent with that
mean taken off. 2-way: how often the decoded latent or picture is more like its own than like another test picture.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from phosphene.eeg.preprocessing import Preprocessing
from phosphene.eeg.whitening import whiten
from phosphene.encoders.low_level import LATENT_LOSSES, LowLevel, low_level
from phosphene.evaluation import retrieval
from phosphene.evaluation.metrics import pixels
from phosphene.registry import build
from phosphene.simulate.study import simulate
from phosphene.targets.latent import Latent
from phosphene.utils.pictures import open_picture

STEPS = {"l_freq": 0.1, "h_freq": 40.0, "tmin": -0.1, "tmax": 0.7, "baseline": (-0.1, 0.0), "sfreq": 125.0}
FITS = {  # epochs, rate, weight decay
    "published": (6, 1e-3, 1e-4),  # decay and rate of the published training
    "small": (30, 1e-3, 0.05),
}
BATCH = 60
SIDE = 128  # pixels at which pictures are compared
COMPARED = 60  # test pictures of the 2-way scores of pictures

Part = tuple[Tensor, Tensor]


def trials(out: Path, snr_db: float, chans: str, space: Latent) -> tuple[Part, Part, list[str]]:
    """EEG and latents of the training and of the test, and the paths of the test pictures."""
    study = simulate(out / f"study{snr_db:g}", snr_db=snr_db)
    read = build("dataset", "synthetic", root=str(study)).load(Preprocessing(**STEPS)).crop(0.0, 0.6)
    read, _ = whiten(read, (read.table["split"] == "train").to_numpy())
    read = read.average()
    if chans == "posterior":
        read = read.pick([name for name in read.signal.ch_names if name[0] in "PO"])
    table = space.table(read.stimuli, out / "cache")
    test = np.array(read.table["split"] == "test")
    eeg, latents = torch.tensor(np.array(read.eeg)), table[read.table["stimulus"]]
    paths = read.stimuli["image"][read.table["stimulus"][test]].to_list()
    return (eeg[~test], latents[~test]), (eeg[test], latents[test]), paths


def fitted(name: str, loss: str, train: Part, seed: int, shuffled: bool) -> tuple[LowLevel, float]:
    """The decoder of the epoch with the smallest validation loss, and the processor seconds that training took."""
    epochs, lr, decay = FITS[name]
    eeg, latents = train
    torch.manual_seed(seed)
    order = torch.randperm(len(eeg))
    chosen, kept = order[: len(eeg) // 10], order[len(eeg) // 10 :]
    if shuffled:
        latents = latents[torch.randperm(len(latents))]
    decoder = low_level(name, n_chans=eeg.shape[1], n_times=eeg.shape[2], shape=latents.shape[1:])
    began, measure, best = time.process_time(), LATENT_LOSSES[loss], (float("inf"), decoder.state_dict())
    decoder.observe(latents[kept])
    optimiser = torch.optim.AdamW(decoder.parameters(), lr, weight_decay=decay, fused=True)
    n_steps = epochs * -(-len(kept) // BATCH)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, n_steps, pct_start=0.05)
    for _ in range(epochs):
        decoder.train()
        for batch in kept[torch.randperm(len(kept))].split(BATCH):
            optimiser.zero_grad()
            measure(decoder(eeg[batch]), latents[batch]).backward()
            nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
            optimiser.step()
            rate.step()
        decoder.eval()
        with torch.inference_mode():
            value = float(measure(decoder(eeg[chosen]), latents[chosen]))
        if value < best[0]:
            best = (value, {key: state.clone() for key, state in decoder.state_dict().items()})
    decoder.load_state_dict(best[1])
    return decoder.eval(), time.process_time() - began


def scores(decoded: Tensor, true: Tensor, mean: Tensor) -> dict[str, float]:
    """Of latents (n, *shape)."""
    likeness = retrieval.correlation((decoded - mean).flatten(1).numpy(), (true - mean).flatten(1).numpy())
    own = retrieval.ranks(likeness).of(np.arange(len(true)))
    return {
        "R2": 1 - float((decoded - true).square().sum() / (true - mean).square().sum()),
        "correlation": float(np.diag(likeness).mean()),
        "2-way": float(retrieval.two_way(own).mean()),
        "top-1": float(retrieval.top_k(own).mean()),
    }


def seen(drawn: list[Image.Image], real: list[Image.Image]) -> dict[str, float]:
    """2-way identification of the first decoded pictures, by pixels."""
    found = {}
    for name, measure in (("PixCorr", pixels.pixcorr), ("SSIM", pixels.ssim)):
        table = measure(drawn[:COMPARED], real[:COMPARED], side=SIDE)
        found[f"{name} 2-way"] = float(retrieval.two_way(retrieval.ranks(table).of(np.arange(len(table)))).mean())
        found[name] = float(np.diag(table).mean())
    return found


def cycle(space: Latent, latents: dict[str, Tensor], true: Tensor, mean: Tensor) -> None:
    """What is lost where latents pass through a picture: decoded, rounded to 8 bits, encoded."""
    print("\n| latents | error of decode + encode, of their spread | correlation | R2 before | after |")
    print("|---|---|---|---|---|")
    for name, before in latents.items():
        after = space.encode(space.decode(before))
        error = float((after - before).norm() / (before - mean).norm())
        likeness = retrieval.correlation((after - mean).flatten(1).numpy(), (before - mean).flatten(1).numpy())
        first, then = (scores(x, true[: len(x)], mean)["R2"] for x in (before, after))
        print(f"| {name} | {error:.3f} | {np.diag(likeness).mean():.3f} | {first:.3f} | {then:.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--snr-db", type=float, default=-10.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--decoders", nargs="+", choices=list(FITS), default=list(FITS))
    parser.add_argument("--chans", choices=["posterior", "all"], default="posterior")
    parser.add_argument("--save", type=Path, help="rows of pictures: seen, autoencoder, each decoder and its control")
    given = parser.parse_args()
    space = Latent("mini")
    train, (eeg, true), paths = trials(given.out, given.snr_db, given.chans, space)
    mean, real = train[1].mean(0), [open_picture(path) for path in paths]
    rows = [real[:10], space.decode(true[:10])]
    passed = {"of test pictures": true}
    print(f"{eeg.shape[1]} channels x {eeg.shape[2]} samples -> {tuple(true.shape[1:])}, {given.snr_db:g} dB\n")
    begun = False
    for name in given.decoders:
        for loss, shuffled in (("l1", False), ("l1", True), ("mse", False)):
            cells: dict[str, list[float]] = {}
            for seed in given.seeds:
                decoder, seconds = fitted(name, loss, train, seed, shuffled)
                with torch.inference_mode():
                    decoded = decoder(eeg)
                drawn = space.decode(decoded[:COMPARED])
                trained = sum(p.numel() for p in decoder.parameters())
                figures = scores(decoded, true, mean) | seen(drawn, real) | {"parameters": trained, "CPU s": seconds}
                for key, value in figures.items():
                    cells.setdefault(key, []).append(value)
            if not begun:
                print(f"| decoder | loss | {' | '.join(cells)} |\n|{'---|' * (2 + len(cells))}")
                begun = True
            label = f"{name}{', shuffled control' * shuffled} | {loss}"
            print(f"| {label} | {' | '.join(cell(values) for values in cells.values())} |", flush=True)
            rows.append(drawn[:10])
            if not shuffled:
                passed[f"{name}, {loss}"] = decoded[:COMPARED]
    cycle(space, passed, true, mean)
    if given.save:
        sheet = Image.new("RGB", (128 * 10, 128 * len(rows)))
        for i, row in enumerate(rows):
            for j, picture in enumerate(row):
                sheet.paste(picture, (128 * j, 128 * i))
        sheet.save(given.save)


def cell(values: list[float]) -> str:
    """Mean, and range over seeds."""
    if max(values) > 100:
        return f"{np.mean(values):,.0f}"
    spread = "" if len(values) == 1 else f" ({min(values):.3f} to {max(values):.3f})"
    return f"{np.mean(values):.3f}{spread}"


if __name__ == "__main__":
    main()
