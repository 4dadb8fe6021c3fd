"""How fast and how well the diffusion prior draws embeddings.

    python benchmarks/prior_sampling.py --part speed
    python benchmarks/prior_sampling.py --part kinds|samplers|guidance|ridge|drawn --cache FOLDER [--seeds 0 1 2]

`speed`: 200 embeddings of 1024 from the published network, one at a time with 50 steps and two passes a step as the
released code does it, against one batch; both start from the same noise. The other parts train a prior on CLIP
embeddings (`mini`) of 4,000 drawn scenes, each with four noisy copies of it as conditions, and draw for 400 scenes
of combinations that training never sees. Retrieval is among 200, the mean of both halves. Training is Adam, 1e-3 along
a cosine, batches of 256; a seed is one of the noise of the conditions, the training and the drawing.
"""

import argparse
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from safetensors.torch import load_file, save_file
from torch import Tensor

from phosphene.backbones.samplers import SAMPLERS
from phosphene.generators.base import Conditioning
from phosphene.generators.diffusion import Diffusion
from phosphene.networks.sampling import row_generators
from phosphene.priors.diffusion import DiffusionPrior
from phosphene.priors.ridge import RidgePrior
from phosphene.simulate.scenes import draw, sample_scenes
from phosphene.targets.clip import CLIPImage

SNRS = (-10.0, -5.0, 0.0)  # dB, of one element
REPEATS = 4


def embeddings(folder: Path, test_seed: int = 1) -> tuple[Tensor, Tensor]:
    """CLIP embeddings (4000, 128) and (400, 128) of training and test scenes; drawn once, minutes."""
    if test_seed != 1:
        scenes = sample_scenes(400, seed=test_seed, held_out=True)
        return embeddings(folder)[0], CLIPImage("mini").images([draw(s) for s in scenes])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "prior_embeddings.safetensors"
    if not path.is_file():
        space, parts = CLIPImage("mini"), {}
        for name, n, seed, held_out in (("train", 4000, 0, False), ("test", 400, 1, True)):
            scenes = sample_scenes(n, seed=seed, held_out=held_out)
            parts[name] = torch.cat([space.images([draw(s) for s in scenes[i : i + 100]]) for i in range(0, n, 100)])
        save_file(parts, path)
    held = load_file(path)
    return held["train"], held["test"]


class World:
    """Embeddings with noisy conditions at one ratio and seed."""

    def __init__(self, train: Tensor, test: Tensor, snr_db: float, seed: int, folder: Path):
        self.folder, self.name = folder, f"prior_{snr_db:g}dB_seed{seed}"
        draws = torch.Generator().manual_seed(1000 + seed)
        self.targets, self.test, self.pictures = train.repeat(REPEATS, 1), test, train
        mean, spread, gain = train.mean(0), (train - train.mean(0)).std(), 10 ** (-snr_db / 20)

        def noisy(x: Tensor) -> Tensor:
            return (x - mean) / spread + gain * torch.randn(x.shape, generator=draws)

        self.conditions, self.asked = noisy(self.targets), noisy(test)

    def prior(self, seed: int, epochs: int, **config: Any) -> DiffusionPrior:
        """A prior trained here; that of the default configuration is kept for the other parts."""
        torch.manual_seed(seed)
        dim = self.targets.shape[1]
        prior = DiffusionPrior(dim, dim, **config)
        kept = self.folder / f"{self.name}_epochs{epochs}.safetensors"
        if not config and kept.is_file():
            prior.load_state_dict(load_file(kept))
            return prior.eval()
        prior.observe(self.targets, self.conditions).train()
        optimizer = torch.optim.Adam(prior.parameters(), 1e-3)
        steps = epochs * (len(self.targets) // 256)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps, pct_start=0.05)
        draws = torch.Generator().manual_seed(seed)
        for _ in range(steps):
            rows = torch.randint(0, len(self.targets), (256,), generator=draws)
            loss = prior.loss(self.conditions[rows], self.targets[rows], draws)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(prior.parameters(), 1.0)
            optimizer.step()
            rate.step()
        if not config:
            save_file(prior.state_dict(), kept)
        return prior.eval()

    def ridge(self, **config: Any) -> RidgePrior:
        dim = self.targets.shape[1]
        return RidgePrior(dim, dim, **config).fit(self.conditions, self.targets)

    def scores(self, drawn: Tensor) -> dict[str, float]:
        """How near embeddings (400, dim) are to the true ones, and how like them as a set."""
        centre = self.pictures.mean(0)
        top1 = np.mean([top_1(drawn[half] - centre, self.test[half] - centre) for half in halves(len(drawn))])
        return {
            "cosine": float(F.cosine_similarity(drawn - centre, self.test - centre).mean()),
            "top-1": float(top1),
            "norm": float(drawn.norm(dim=1).mean() / self.test.norm(dim=1).mean()),
            "SD": float(drawn.std(0).mean() / self.test.std(0).mean()),
        }

    def nearest(self, drawn: Tensor) -> Tensor:
        """The training embedding nearest (cosine, centred) to each."""
        centre = self.pictures.mean(0)
        return self.pictures[(F.normalize(drawn - centre) @ F.normalize(self.pictures - centre).T).argmax(1)]


def halves(n: int) -> tuple[slice, slice]:
    return slice(0, n // 2), slice(n // 2, n)


def top_1(query: Tensor, gallery: Tensor) -> float:
    """Share of queries whose own row of the gallery is the most similar."""
    similarity = F.normalize(query) @ F.normalize(gallery).T
    return float((similarity.argmax(1) == torch.arange(len(query))).float().mean())


def sampled(prior: DiffusionPrior, asked: Tensor, seed: int = 0, **settings: Any) -> Tensor:
    """Draw with other settings of the sampler than the prior's own."""
    before = {name: getattr(prior, name) for name in settings}
    for name, value in settings.items():
        setattr(prior, name, value)
    try:
        return prior(asked, seed=seed)
    finally:
        for name, value in before.items():
            setattr(prior, name, value)


def cell(values: Iterable[float]) -> str:
    values = list(values)
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else f"{values[0]:.3f}"


def table(rows: Iterable[tuple[str, list[dict[str, float]]]], first: str) -> None:
    """Print a row as soon as it is there."""
    names: list[str] = []
    for name, runs in rows:
        if not names:
            names = list(runs[0])
            print(f"| {first} | {' | '.join(names)} |\n|{'---|' * (len(names) + 1)}")
        print(f"| {name} | {' | '.join(cell(run[n] for run in runs) for n in names)} |", flush=True)
    print(flush=True)


def worlds(given: argparse.Namespace) -> Iterable[tuple[float, list[tuple[int, World]]]]:
    train, test = embeddings(given.cache, given.test_seed)
    for snr_db in given.snr_db:
        yield snr_db, [(seed, World(train, test, snr_db, seed, given.cache)) for seed in given.seeds]


@torch.no_grad()
def one_at_a_time(prior: DiffusionPrior, condition: Tensor) -> Tensor:
    """The released way: a row after the other, two passes of the whole network a step."""
    rows = []
    for number, c in enumerate(condition.split(1)):
        (generator,) = row_generators(0, [number])
        scheduler = DDPMScheduler(clip_sample=prior.clip_sample)
        scheduler.set_timesteps(50)
        x = torch.randn(1, prior.n_outputs, generator=generator)
        for t in scheduler.timesteps:
            without, with_condition = prior.network(x, t[None]), prior.network(x, t[None], c)
            noise = without + prior.guidance * (with_condition - without)
            x = scheduler.step(noise, t, x, generator=generator).prev_sample
        rows.append(x)
    return torch.cat(rows)


def speed(given: argparse.Namespace) -> None:
    torch.manual_seed(0)
    prior = DiffusionPrior.published().eval()
    condition = torch.randn(200, 1024)
    fast = DiffusionPrior(1024, 1024, standardise=False).eval()
    fast.network.load_state_dict(prior.network.state_dict())
    few = condition[: given.alone]

    def alone() -> Tensor:
        return torch.cat([prior(c, numbers=[i]) for i, c in enumerate(few.split(1))])

    batched, released = "batched, ddpm 50, guidance 5", "one at a time, two passes a step (as released)"
    ways: dict[str, Callable[[], Tensor]] = {
        batched: lambda: prior(condition),
        released: lambda: one_at_a_time(prior, few),
        "one at a time, `DiffusionPrior`": alone,
        f"batched, the default ({fast.sampler} {fast.steps}, guidance {fast.guidance:g})": lambda: fast(condition),
    }
    prior(condition[:2])  # imports
    took: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, Tensor] = {}
    for _ in range(given.rounds):
        for name, way in ways.items():
            start = time.process_time() if given.cpu_time else time.perf_counter()
            found[name] = way()
            stop = time.process_time() if given.cpu_time else time.perf_counter()
            took[name].append((stop - start) * len(condition) / len(found[name]))
    rms = found[released].square().mean().sqrt()
    kind = "CPU seconds" if given.cpu_time else "seconds"
    print(
        f"200 embeddings of 1024, {torch.get_num_threads()} thread(s), {kind}, medians of {given.rounds} rounds in turn"
    )
    print(f"one at a time: {len(few)} of them, times {200 / len(few):g}\n")
    print("| way | s | times faster than as released (each round) | largest difference, of rms |\n|---|---|---|---|")
    for name, times in took.items():
        ratios = [b / a for a, b in zip(times, took[released], strict=True)]
        odd = f"{float((found[name][: len(few)] - found[released]).abs().max() / rms):.0e}"
        ends = f"{np.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
        print(f"| {name} | {np.median(times):.2f} | {ends} | {'another sampler' if 'default' in name else odd} |")


def kinds(given: argparse.Namespace) -> None:
    """What is trained: prediction, standardising, network, widths; 50 DDPM steps, guidance 1."""
    settings: dict[str, dict[str, Any]] = {
        "default": {},
        "epsilon": {"predicts": "epsilon"},
        "epsilon, raw": {"predicts": "epsilon", "standardise": False},
        "epsilon, raw, clipped (published)": {
            "predicts": "epsilon",
            "standardise": False,
            "clip_sample": True,
            "sampler": "ddpm",
        },
        "v_prediction, raw": {"predicts": "v_prediction", "standardise": False},
        "drop by whole batch": {"drop_rule": "batch"},
        "no dropout": {"dropout": 0.0},
        "widths 128 to 8": {"widths": (128, 64, 32, 16, 8)},
        "mlp": {"network": "mlp"},
    }
    for snr_db, made in worlds(given):
        print(f"\n{snr_db:g} dB: 50 DDPM steps, guidance 1, mean ± SD of {len(made)} seeds\n")

        def runs(config: dict[str, Any], made: list[tuple[int, World]] = made) -> list[dict[str, float]]:
            found = []
            for seed, world in made:
                start = time.process_time()
                prior = world.prior(seed, given.epochs, **config)
                took = time.process_time() - start
                drawn = sampled(prior, world.asked, seed, sampler="ddpm", steps=50, guidance=1.0)
                found.append({**world.scores(drawn), "training, CPU s": took})
            return found

        wanted = {k: v for k, v in settings.items() if not given.only or k in given.only}
        table(((name, runs(config)) for name, config in wanted.items()), "prior")


def samplers(given: argparse.Namespace) -> None:
    wanted = [("ddpm", 50), ("ddpm", 200)]
    wanted += [
        (name, steps) for name in SAMPLERS for steps in (50, 25, 15, 10, 8, 6, 4) if (name, steps) != ("ddpm", 50)
    ]
    for snr_db, made in worlds(given):
        rows: dict[str, list[dict[str, float]]] = {
            f"{name} {steps}": []
            for name, steps in wanted
            if not given.only or f"{name} {steps}" in ["ddpm 50", *given.only]
        }
        for seed, world in made:
            prior = world.prior(seed, given.epochs)
            for again in range(given.draws):
                for row, runs in rows.items():
                    name, steps = row.split()
                    settings = {"sampler": name, "steps": int(steps), "guidance": given.guidance}
                    runs.append(world.scores(sampled(prior, world.asked, 100 * seed + again, **settings)))
        print(f"\n{snr_db:g} dB, guidance {given.guidance:g}: mean ± SD of {len(made)} seeds x {given.draws} draws\n")
        base = rows["ddpm 50"]
        for runs in rows.values():
            for run, own in zip(runs, base, strict=True):
                run["cosine less ddpm 50's"], run["top-1 less ddpm 50's"] = (
                    run[key] - own[key] for key in ("cosine", "top-1")
                )
        table(rows.items(), "sampler, steps")


def guidance(given: argparse.Namespace) -> None:
    for snr_db, made in worlds(given):
        rows: dict[str, list[dict[str, float]]] = {}
        for seed, world in made:
            prior = world.prior(seed, given.epochs)
            for g in (0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0):
                free = world.scores(sampled(prior, world.asked, seed, guidance=g, keep_norm=False))
                kept = world.scores(sampled(prior, world.asked, seed, guidance=g))
                rows.setdefault(f"{g:g}", []).append({**free, "norm, kept": kept["norm"], "SD, kept": kept["SD"]})
        print(f"\n{snr_db:g} dB, default sampler: mean ± SD of {len(made)} seeds\n")
        table(rows.items(), "guidance")


def ways_of(world: World, seed: int, epochs: int) -> dict[str, Tensor]:
    """Embeddings of the test's conditions by each prior; diffusion also as the mean of 8 draws."""
    prior = world.prior(seed, epochs)
    draws = [sampled(prior, world.asked, 100 * seed + again, guidance=1.0) for again in range(8)]
    found = {
        "diffusion, guidance 1": draws[0],
        "diffusion, guidance 2": sampled(prior, world.asked, seed, guidance=2.0),
        "diffusion, guidance 5": sampled(prior, world.asked, seed, guidance=5.0),
        "diffusion, mean of 8 draws": torch.stack(draws).mean(0),
        "ridge": world.ridge()(world.asked),
        "ridge, no stretch": world.ridge(stretch=1.0)(world.asked),
    }
    return {**found, "training picture nearest to ridge": world.nearest(found["ridge"])}


def ridge(given: argparse.Namespace) -> None:
    for snr_db, made in worlds(given):
        rows: dict[str, list[dict[str, float]]] = {}
        for seed, world in made:
            centre = world.pictures.mean(0)
            rows.setdefault("the condition itself", []).append(world.scores(world.asked * world.test.std() + centre))
            for name, drawn in ways_of(world, seed, given.epochs).items():
                rows.setdefault(name, []).append(world.scores(drawn))
        print(f"\n{snr_db:g} dB: mean ± SD of {len(made)} seeds\n")
        table(rows.items(), "embedding")


def drawn(given: argparse.Namespace) -> None:
    """Pictures drawn by `mini` from the embeddings of scenes, embedded again by its CLIP."""
    generator, space, half = Diffusion("mini"), CLIPImage("mini"), slice(0, given.pictures)
    for snr_db, made in worlds(given):
        rows: dict[str, list[dict[str, float]]] = {}
        for seed, world in made:
            world.asked, world.test = world.asked[half], world.test[half]
            centre = world.pictures.mean(0)
            for name, embeds in {"true embedding": world.test, **ways_of(world, seed, given.epochs)}.items():
                if name in ("diffusion, guidance 2", "diffusion, mean of 8 draws", "ridge, no stretch"):
                    continue
                pictures = generator(Conditioning(image_embeds=embeds), seed=seed)
                again = space.images([p for (p,) in pictures])
                rows.setdefault(name, []).append(
                    {
                        "drawing top-1": top_1(again - centre, world.test - centre),
                        "drawing cosine": float(F.cosine_similarity(again - centre, world.test - centre).mean()),
                        "embedding top-1": top_1(embeds - centre, world.test - centre),
                    }
                )
        print(f"\n{snr_db:g} dB, {given.pictures} drawings each: mean ± SD of {len(made)} seeds\n")
        table(rows.items(), "drawn from")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {f.__name__: f for f in (speed, kinds, samplers, guidance, ridge, drawn)}
    parser.add_argument("--part", choices=parts, required=True)
    parser.add_argument("--cache", type=Path, default=Path("runs/prior"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--test-seed", type=int, default=1, help="1: those that the defaults were chosen on")
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--snr-db", type=float, nargs="+", default=list(SNRS))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", type=int, default=200, help="how many of the 200 are drawn one at a time")
    parser.add_argument("--cpu-time", action="store_true", help="count the process's CPU time: for a busy machine")
    parser.add_argument("--pictures", type=int, default=200, help="drawings of each row of `drawn`")
    parser.add_argument("--only", nargs="+", default=[])
    given = parser.parse_args()
    parts[given.part](given)


if __name__ == "__main__":
    main()
