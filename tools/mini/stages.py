"""The stages of training: each reads the finished weights of those before it and goes on from its own checkpoint."""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import shutil
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny, StableDiffusionPipeline
from torch import Tensor, nn
from transformers import CLIPImageProcessor, CLIPModel, CLIPTextModel, CLIPTokenizer

from mini import loop
from mini.networks import (
    CHANNELS,
    LATENT,
    WIDTH,
    Heads,
    adapter_parts,
    attach_adapter,
    make_clip,
    make_scheduler,
    make_unet,
    make_vae,
)
from mini.world import FACTS, TOKENS, captions, labels, make_tokenizer, render
from phosphene.simulate.judge import Judge
from phosphene.simulate.scenes import OBJECTS, SIZE, Scene, sample_scenes

TRAINED = ("text", "judge", "vae", "clip", "unet", "adapter")
STAGES = (*TRAINED, "export", "score")
STEPS = {"text": 1600, "judge": 2200, "vae": 3600, "clip": 4800, "unet": 4000, "adapter": 2400}
BATCH = {"text": 96, "judge": 64, "vae": 16, "clip": 128, "unet": 48, "adapter": 48}
RATE = {"text": 2e-3, "judge": 1e-3, "vae": 1.5e-3, "clip": 1e-3, "unet": 1e-3, "adapter": 2e-3}


class Run:
    """The folder, the settings and the stages."""

    def __init__(self, args: argparse.Namespace, processes: loop.Processes) -> None:
        self.out, self.processes = Path(args.out), processes
        self.out.mkdir(parents=True, exist_ok=True)
        self.seed, self.device, self.scale, self.threads = args.seed, args.device, args.steps_scale, args.threads
        self.larger: int = args.larger_batch
        self.stop_after: int | None = args.stop_after
        self.deadline = time.time() + 60 * args.minutes if args.minutes else math.inf
        self.n_scenes = max(64, round(args.n_scenes * min(1.0, args.steps_scale)))

    # data

    def _once(self, name: str, make: Callable[[Path], None]) -> Path:
        """A folder of arrays, made once by the first process; there whole or not at all."""
        folder = self.out / name
        if self.processes.rank == 0 and not folder.is_dir():
            work = self.out / f"{name}.unfinished"
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            make(work)
            work.rename(folder)
        while not folder.is_dir():  # no barrier: the first process may call this alone
            time.sleep(1)
        return folder

    def _shared(self, name: str, n: int, shape: tuple[int, ...], fill: Callable[[int, int], np.ndarray]) -> np.ndarray:
        """A float16 array (n, *shape) of which every process makes its share, once."""
        final, work = self.out / f"{name}.npy", self.out / f"{name}.unfinished.npy"
        if not final.is_file():
            if self.processes.rank == 0:
                np.lib.format.open_memmap(work, "w+", np.float16, (n, *shape))
            self.processes.wait()
            array = np.lib.format.open_memmap(work, "r+")
            own = np.array_split(np.arange(n), self.processes.world)[self.processes.rank]
            for begin in range(own[0], own[-1] + 1, 128):
                array[begin : min(begin + 128, own[-1] + 1)] = fill(begin, min(begin + 128, own[-1] + 1))
            array.flush()
            self.processes.wait()
            if self.processes.rank == 0:
                work.rename(final)
            self.processes.wait()
        return np.load(final, mmap_mode="r")

    def scenes(self, judge: bool = False) -> list[Scene]:
        """The training scenes; the judge has draws of its own, and of every object."""
        if judge:
            return sample_scenes(self.n_scenes // 2, seed=self.seed + 77_000, held_out=None, objects=OBJECTS)
        return sample_scenes(self.n_scenes, seed=self.seed, held_out=False)

    def held_out(self, n: int = 256) -> list[Scene]:
        """Scenes that no training stage sees: those that each stage is scored on as it ends."""
        return sample_scenes(max(8, min(n, self.n_scenes)), seed=self.seed + 55_000, held_out=True)

    def data(self, judge: bool = False) -> dict[str, np.ndarray]:
        def make(folder: Path) -> None:
            images, masks = render(self.scenes(judge), self.threads * self.processes.world)
            np.save(folder / "images.npy", images)
            np.save(folder / "masks.npy", masks)

        folder = self._once("judge_scenes" if judge else "scenes", make)
        return {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}

    @cached_property
    def tokenizer(self) -> CLIPTokenizer:
        def make(folder: Path) -> None:
            make_tokenizer(folder)

        return CLIPTokenizer.from_pretrained(self._once("tokenizer", make))

    def tokens(self, texts: list[str], padding: str | bool = "max_length") -> Tensor:
        batch = self.tokenizer(texts, padding=padding, truncation=True, max_length=TOKENS, return_tensors="pt")
        return batch.input_ids.to(self.device)

    def pixels(self, array: np.ndarray) -> Tensor:
        """uint8 (n, 3, h, w) as float from 0 to 1 on the device."""
        return torch.from_numpy(np.array(array)).to(self.device).float() / 255

    # training

    def autocast(self) -> torch.autocast:
        return torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16)

    def batch(self, stage: str) -> int:
        """How many examples of each batch are this process's own."""
        return self.larger * BATCH[stage] // self.processes.world

    def weights(self, stage: str) -> dict[str, Tensor]:
        """The averaged weights of a finished stage."""
        found = loop.load(self.out / stage)
        if found is None or found[0] < self.steps(stage):
            raise SystemExit(f"stage {stage!r} is not finished: run --stage {stage} first")
        return loop.part(found[2], "mean.")

    def steps(self, stage: str) -> int:
        return max(4, round(STEPS[stage] * self.scale))

    def fit(self, stage: str, model: nn.Module, loss: Callable[[np.random.Generator], Tensor], makes: str = "") -> bool:
        """Trains one stage; `makes` names what its weights make, which is made anew when they change."""
        steps = self.steps(stage)
        done = loop.fit(
            self.out / stage,
            model,
            loss,
            seed=(self.seed, TRAINED.index(stage)),
            steps=steps,
            stop=steps if self.stop_after is None else min(steps, self.stop_after),
            deadline=self.deadline,
            processes=self.processes,
            lr=RATE[stage],
            warmup=150,
            every=200,
            start=(lambda: (self.out / f"{makes}.npy").unlink(missing_ok=True)) if makes else None,
        )
        if not done and self.stop_after is None:
            raise SystemExit(f"stopped in stage {stage!r}; the same command goes on")
        return done

    def note(self, stage: str, figures: dict[str, float]) -> None:
        """Prints and keeps a stage's held-out score."""
        path = self.out / "held_out.json"
        known = json.loads(path.read_text()) if path.is_file() else {}
        known[stage] = {key: round(float(value), 4) for key, value in figures.items()}
        path.write_text(json.dumps(known, indent=2) + "\n")
        print("held out:", stage, known[stage], flush=True)

    def _right(self, logits: dict[str, Tensor], scenes: list[Scene]) -> dict[str, float]:
        truth = dict(zip(FACTS, labels(scenes).T.to(self.device), strict=True))
        return {key: (value.argmax(1) == truth[key]).float().mean().item() for key, value in logits.items()}

    # stages

    def _text_model(self) -> nn.ModuleDict:
        clip = make_clip(self.tokenizer)
        return nn.ModuleDict({"text": clip.text_model, "heads": Heads(WIDTH, unsaid=True)}).to(self.device)

    def text(self) -> None:
        scenes, target = self.scenes(), labels(self.scenes()).to(self.device)
        torch.manual_seed(self.seed)
        model = self._text_model()
        unsaid = torch.tensor([len(names) for names in FACTS.values()], device=self.device)

        def loss(rng: np.random.Generator) -> Tensor:
            picked = rng.integers(len(scenes), size=self.batch("text"))
            texts, keep = captions([scenes[i] for i in picked], rng)
            pooled = model["text"](self.tokens(texts, padding=True)).pooler_output
            goal = torch.where(keep.to(self.device), target[torch.from_numpy(picked)], unsaid)
            return model["heads"].loss(pooled, goal)

        if self.fit("text", model, loss) and self.processes.rank == 0:
            model.load_state_dict(self.weights("text"))
            held = self.held_out()
            texts, keep = captions(held, np.random.default_rng(0))
            with torch.inference_mode():
                said = model["heads"](model["text"](self.tokens(texts)).pooler_output)
            goal = torch.where(keep.to(self.device), labels(held).to(self.device), unsaid)
            hits = [(x.argmax(1) == goal[:, i]).float().mean() for i, x in enumerate(said)]
            self.note("text", dict(zip(FACTS, hits, strict=True)))

    def text_encoder(self) -> CLIPTextModel:
        """The frozen text tower."""
        model = self._text_model()
        model.load_state_dict(self.weights("text"))
        encoder = CLIPTextModel(make_clip(self.tokenizer).config.text_config)
        own = encoder.state_dict()
        prefix = "text_model." if any(key.startswith("text_model.") for key in own) else ""
        encoder.load_state_dict({prefix + key: value for key, value in model["text"].state_dict().items()})
        return encoder.eval().requires_grad_(False).to(self.device)

    def judge(self) -> None:
        data, scenes = self.data(judge=True), self.scenes(judge=True)
        target = dict(zip(FACTS, labels(scenes).T.to(self.device), strict=True))
        torch.manual_seed(self.seed + 3)
        judge = Judge().to(self.device, memory_format=torch.channels_last)

        def loss(rng: np.random.Generator) -> Tensor:
            picked = np.sort(rng.integers(len(scenes), size=self.batch("judge")))
            images = F.avg_pool2d(self.pixels(data["images"][picked]), SIZE // judge.size)
            soft = F.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
            images = torch.lerp(images, soft, torch.rand(len(images), 1, 1, 1, device=self.device))
            images = images + 0.03 * torch.randn_like(images)
            with self.autocast():
                logits = judge(images.contiguous(memory_format=torch.channels_last))
            rows = torch.from_numpy(picked).to(self.device)
            return sum(F.cross_entropy(v.float(), target[key][rows]) for key, v in logits.items()) / len(logits)

        if self.fit("judge", judge, loss) and self.processes.rank == 0:
            scenes = self.held_out()
            images = render(scenes, 1)[0]
            self.note("judge", self._seen(self.trained_judge(), self.pixels(images), scenes))

    def trained_judge(self) -> Judge:
        judge = Judge()
        judge.load_state_dict(self.weights("judge"))
        return judge.eval().requires_grad_(False).to(self.device)

    def _seen(self, judge: Judge, images: Tensor, scenes: list[Scene]) -> dict[str, float]:
        with torch.inference_mode():
            return self._right(judge(F.avg_pool2d(images, SIZE // judge.size)), scenes)

    def vae(self) -> None:
        data = self.data()
        torch.manual_seed(self.seed + 1)
        vae = make_vae().to(self.device, memory_format=torch.channels_last)

        def loss(rng: np.random.Generator) -> Tensor:
            picked, half = np.sort(rng.integers(self.n_scenes, size=self.batch("vae"))), SIZE // 2
            y, x = rng.integers(half + 1, size=2)
            real = self.pixels(data["images"][picked][..., y : y + half, x : x + half]) * 2 - 1
            mask = torch.from_numpy(data["masks"][picked][..., y : y + half, x : x + half]).to(self.device)
            weight = 1 + 4 * mask.float()[:, None]
            with self.autocast():
                z = vae.encode(real.contiguous(memory_format=torch.channels_last)).latents.float()
                made = vae.decode(z + 0.05 * torch.randn_like(z)).sample.float()
            error = made - real
            slopes = sum((torch.diff(error, dim=d).abs() * weight.narrow(d, 1, half - 1)).mean() for d in (2, 3))
            moments = (z.mean((0, 2, 3)) ** 2).mean() + ((z.var((0, 2, 3)) + 1e-4).log() ** 2).mean()
            return (weight * (error.abs() + error**2)).mean() + 0.5 * slopes + 0.02 * moments

        if self.fit("vae", vae, loss, makes="latents") and self.processes.rank == 0:
            vae.load_state_dict(self.weights("vae"))
            scenes = self.held_out()
            images = render(scenes, 1)[0]
            real, made = self.pixels(images), []
            with torch.inference_mode():
                for chunk in real.split(32):
                    made.append(vae.eval()(chunk * 2 - 1).sample.clamp(-1, 1) / 2 + 0.5)
            again = torch.cat(made)
            psnr = -10 * math.log10(float((again - real).square().mean()))
            self.note("vae", {"psnr_db": psnr, **self._seen(self.trained_judge(), again, scenes)})

    def trained_vae(self) -> AutoencoderTiny:
        """The autoencoder; its scaling factor gives latents a standard deviation of one."""
        vae = make_vae()
        vae.load_state_dict(self.weights("vae"))
        vae = vae.eval().requires_grad_(False).to(self.device, memory_format=torch.channels_last)
        latents = torch.from_numpy(np.array(self.latents(vae)[:2000])).float()
        vae.register_to_config(scaling_factor=round(1 / float(latents.std()), 4))
        return vae

    def latents(self, vae: AutoencoderTiny) -> np.ndarray:
        """Unscaled latents of the training scenes (n, 12, 16, 16)."""
        images = self.data()["images"]

        @torch.inference_mode()
        def fill(start: int, stop: int) -> np.ndarray:
            pixels = self.pixels(images[start:stop]).contiguous(memory_format=torch.channels_last)
            with self.autocast():
                return vae.encode(pixels * 2 - 1).latents.float().cpu().numpy()

        return self._shared("latents", self.n_scenes, (CHANNELS, LATENT, LATENT), fill)

    def trained_clip(self, weights: bool = True) -> CLIPModel:
        clip = make_clip(self.tokenizer)
        clip.text_model.load_state_dict(loop.part(self.weights("text"), "text."))
        if weights:
            state = self.weights("clip")
            for name in ("vision_model", "visual_projection", "text_projection"):
                getattr(clip, name).load_state_dict(loop.part(state, f"{name}."))
            clip.logit_scale.data = state["extra.0"]
        return clip.eval().to(self.device)

    def clip(self) -> None:
        data, scenes = self.data(), self.scenes()
        target = labels(scenes).to(self.device)
        torch.manual_seed(self.seed + 2)
        clip = self.trained_clip(weights=False).train()
        clip.text_model.eval().requires_grad_(False)
        model = nn.ModuleDict(
            {
                "vision_model": clip.vision_model,
                "visual_projection": clip.visual_projection,
                "text_projection": clip.text_projection,
                "heads": Heads(WIDTH, unsaid=False),
                "extra": nn.ParameterList([clip.logit_scale]),
            }
        ).to(self.device)

        def loss(rng: np.random.Generator) -> Tensor:
            picked = np.sort(rng.integers(self.n_scenes, size=self.batch("clip")))
            texts, keep = captions([scenes[i] for i in picked], rng)
            truth, keep = target[torch.from_numpy(picked).to(self.device)], keep.to(self.device)
            images = self.pixels(data["images"][picked])
            y, x = rng.integers(-6, 7, size=2)
            images = torch.roll(F.pad(images, (6, 6, 6, 6), "replicate"), (int(y), int(x)), (2, 3))[..., 6:-6, 6:-6]
            noise = torch.rand(len(images), 1, 1, 1, device=self.device) ** 2 * 0.1
            images = (images + noise * torch.randn_like(images)).clamp(0, 1)
            with torch.no_grad():
                pooled = clip.text_model(self.tokens(texts, padding=True)).pooler_output
            with self.autocast():
                seen = model["visual_projection"](model["vision_model"](images * 2 - 1).pooler_output).float()
            said = model["text_projection"](pooled)
            seen, said = F.normalize(seen, dim=-1), F.normalize(said, dim=-1)
            logits = model["extra"][0].clamp(max=math.log(100)).exp() * seen @ said.T
            # a caption suits every picture of which all that it says is true
            suits = ((truth[:, None] == truth[None]) | ~keep[None]).all(-1).float()
            to_text = -(logits.log_softmax(1) * suits).sum(1) / suits.sum(1)
            to_image = -(logits.log_softmax(0) * suits).sum(0) / suits.sum(0)
            both = model["heads"].loss(seen * WIDTH**0.5, truth)
            both = both + 0.5 * model["heads"].loss(said * WIDTH**0.5, truth.masked_fill(~keep, -100))
            return (to_text.mean() + to_image.mean()) / 2 + both

        if self.fit("clip", model, loss, makes="embeds") and self.processes.rank == 0:
            scenes = self.held_out()
            images = render(scenes, 1)[0]
            trained = self.trained_clip()
            seen = F.normalize(self.embed(trained, images), dim=-1)
            said = F.normalize(self.said(trained, [scene.prompt for scene in scenes]), dim=-1)
            hits = ((seen @ said.T).argmax(1).cpu() == torch.arange(len(scenes))).float().mean()
            self.note("clip", {f"recall@1 of {len(scenes)}": hits})

    @torch.inference_mode()
    def embed(self, clip: CLIPModel, images: np.ndarray) -> Tensor:
        """Image embeddings (n, 128), not normalised, of uint8 pictures."""
        made = [
            clip.visual_projection(clip.vision_model(self.pixels(images[i : i + 64]) * 2 - 1).pooler_output)
            for i in range(0, len(images), 64)
        ]
        return torch.cat(made)

    @torch.inference_mode()
    def said(self, clip: CLIPModel, texts: list[str]) -> Tensor:
        """Text embeddings (n, 128), not normalised."""
        return clip.text_projection(clip.text_model(self.tokens(texts)).pooler_output)

    def _flow(self, rng: np.random.Generator, clean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Noisy latents, their times from 0 to 1000, and the velocity to predict."""
        drawn = 1 / (1 + np.exp(-rng.normal(0.2, 1.0, size=len(clean))))
        first = rng.random(len(clean)) < 0.1  # the earliest steps choose the background, and are rare in this draw
        drawn = np.where(first, rng.uniform(0.9, 1.0, size=len(clean)), drawn)
        sigma = torch.from_numpy(drawn).float().to(self.device)
        noise = torch.randn_like(clean)
        at = sigma[:, None, None, None]
        return (1 - at) * clean + at * noise, sigma * 1000, noise - clean

    def unet(self, adapter: bool = False) -> None:
        stage = "adapter" if adapter else "unet"
        data, scenes = self.data(), self.scenes()
        vae = self.trained_vae()
        latents, scaling = self.latents(vae), vae.config.scaling_factor
        masks = F.avg_pool2d(torch.from_numpy(np.array(data["masks"])).half()[:, None], SIZE // LATENT)
        encoder = self.text_encoder()
        torch.manual_seed(self.seed + 4 + adapter)
        unet = make_unet().to(self.device, memory_format=torch.channels_last)
        trained: nn.Module = unet
        embeds = None
        if adapter:
            unet.load_state_dict(self.weights("unet"))
            unet.requires_grad_(False)
            embeds = self.embeds()
            spread = float(np.asarray(embeds[:2000], np.float32).std())
            teacher = copy.deepcopy(unet)
            attach_adapter(unet)
            trained = adapter_parts(unet).to(self.device).requires_grad_(True)

        def loss(rng: np.random.Generator) -> Tensor:
            picked = np.sort(rng.integers(self.n_scenes, size=self.batch(stage)))
            clean = torch.from_numpy(latents[picked]).to(self.device).float() * scaling
            noisy, time_, velocity = self._flow(rng, clean)
            noisy = noisy.contiguous(memory_format=torch.channels_last)
            drop = rng.random(len(picked)) < (0.9 if adapter else 0.1)
            told, _ = captions([scenes[i] for i in picked], rng)
            with torch.no_grad():
                texts = ["" if gone else text for text, gone in zip(told, drop, strict=True)]
                states = encoder(self.tokens(texts)).last_hidden_state
            extra = {}
            if embeds is not None:
                shown = rng.random(len(picked)) >= 0.1
                image = torch.from_numpy(np.asarray(embeds[picked], np.float32)).to(self.device)
                strength = torch.rand(len(picked), 1, device=self.device) ** 2 * 0.5 * spread
                image = image + strength * torch.randn_like(image)
                image = image * torch.from_numpy(shown[:, None]).to(self.device)
                extra = {"added_cond_kwargs": {"image_embeds": [image[:, None].float()]}}
                # most of the target is what the U-Net makes of the picture's own prompt: the same mean, far less noise
                with torch.no_grad(), self.autocast():
                    texts = [scenes[i].prompt if s else text for i, s, text in zip(picked, shown, texts, strict=True)]
                    told_ = encoder(self.tokens(texts)).last_hidden_state
                    velocity = torch.lerp(velocity, teacher(noisy, time_, told_).sample.float(), 0.75)
            else:  # no text is an empty prompt or, as often, states of zero
                states[torch.from_numpy(drop & (rng.random(len(drop)) < 0.5)).to(self.device)] = 0
            with self.autocast():
                made = unet(noisy, time_, states, **extra).sample
            weight = 1 + 3 * masks[torch.from_numpy(picked)].to(self.device).float()
            return (weight * (made.float() - velocity) ** 2).mean()

        if self.fit(stage, trained, loss) and self.processes.rank == 0 and not adapter:
            self.note("unet", self.drawn(64))
        elif adapter and self.processes.rank == 0:
            self.note("adapter", self.drawn(64, adapter=True))

    def embeds(self) -> np.ndarray:
        """Image embeddings of the training scenes (n, 128)."""
        clip, images = self.trained_clip(), self.data()["images"]
        return self._shared(
            "embeds", self.n_scenes, (WIDTH,), lambda start, stop: self.embed(clip, images[start:stop]).cpu().numpy()
        )

    def adapter(self) -> None:
        self.unet(adapter=True)

    def drawn(self, n: int, adapter: bool = False) -> dict[str, float]:
        """What the judge sees in pictures of held-out scenes, from their prompts or from their embeddings."""
        scenes = self.held_out(n)
        images = render(scenes, 1)[0]
        unet = make_unet()
        unet.load_state_dict(self.weights("unet"))
        if adapter:
            attach_adapter(unet)
            adapter_parts(unet).load_state_dict(self.weights("adapter"))
        pipeline = StableDiffusionPipeline(
            vae=self.trained_vae(),
            text_encoder=self.text_encoder(),
            tokenizer=self.tokenizer,
            unet=unet.eval(),
            scheduler=make_scheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ).to(self.device)
        pipeline.set_progress_bar_config(disable=True)
        made = []
        embeds = self.embed(self.trained_clip(), images) if adapter else None
        for i, scene in enumerate(scenes):
            generator = torch.Generator().manual_seed(i)
            given = {}
            if embeds is not None:
                both = torch.stack([torch.zeros_like(embeds[i]), embeds[i]])[:, None]
                given = {"ip_adapter_image_embeds": [both]}
            made.append(
                pipeline(
                    "" if adapter else scene.prompt,
                    height=SIZE,
                    width=SIZE,
                    num_inference_steps=8,
                    guidance_scale=2.0,
                    generator=generator,
                    output_type="pt",
                    **given,
                ).images
            )
        return self._seen(self.trained_judge(), torch.cat(made).float(), scenes)

    def processor(self) -> CLIPImageProcessor:
        return CLIPImageProcessor(
            size={"shortest_edge": SIZE},
            crop_size={"height": SIZE, "width": SIZE},
            image_mean=[0.5] * 3,
            image_std=[0.5] * 3,
        )


def processes(device: str) -> loop.Processes:
    """Joins the other processes where `torchrun` started several."""
    if "WORLD_SIZE" not in os.environ:
        return loop.Processes()
    torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return loop.Processes(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
