"""Trains `mini`, the embedded backbone, on drawn scenes, and writes it as a stock diffusers pipeline.

    python tools/train_mini.py --out runs/mini --stage all

Stages, in order: `text` (text tower), `vae`, `clip` (vision tower, aligned to the frozen text tower), `judge`
(independent critic), `unet` (flow matching), `adapter` (image prompt), `export`, `score`. Each reads its checkpoint
from `--out` and goes on where it stopped; every batch is drawn from (seed, stage, step) alone, so that a resumed run
equals an uninterrupted one. No stage before `score` sees a held-out combination.

The two long stages share each batch between processes when started by
`torchrun --nproc-per-node 2 tools/train_mini.py --threads 1 --stage unet`.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from diffusers import AutoencoderTiny, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor, IPAdapterAttnProcessor, IPAdapterAttnProcessor2_0
from diffusers.models.embeddings import ImageProjection
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer as RawTokenizer
from tokenizers import models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from phosphene.simulate.judge import ATTRIBUTES, Judge, load_judge
from phosphene.simulate.scenes import Scene, draw_with_mask, sample_scenes

STAGES = ("text", "vae", "clip", "judge", "unet", "adapter", "export", "score")
SIZE, LATENT, WIDTH, TOKENS, IMAGE_TOKENS = 64, 16, 128, 32, 4
PREFIXES = ("a photo of", "a picture of", "a drawing of")
PLACES = {s.background: s.prompt.split(", ")[1] for s in sample_scenes(2880, seed=0)}
SIDES = {s.position: s.captions["SpatialLink"].removeprefix(s.captions["ObjectSnap"] + " ") for s in
         sample_scenes(2880, seed=0)}  # fmt: skip
STEPS = {"text": 1200, "vae": 3200, "clip": 1400, "judge": 1200, "unet": 2800, "adapter": 1000}
ASSETS = Path(__file__).resolve().parent.parent / "src" / "phosphene" / "assets" / "mini"
WALLS = Path(__file__).resolve().parent.parent / "docs" / "img"


# Scenes and captions -------------------------------------------------------------------------------------------------


def labels(scenes: Iterable[Scene]) -> Tensor:
    """Indices (scene, attribute) into `ATTRIBUTES`."""
    return torch.tensor([[names.index(getattr(s, key)) for key, names in ATTRIBUTES.items()] for s in scenes])


def phrase(scene: Scene, keep: tuple[bool, bool, bool, bool]) -> str:
    """The scene in the one grammar, saying only what `keep` (object, colour, background, position) keeps."""
    noun, colour, background, position = keep
    words = [scene.colour] * colour + [scene.object if noun else "thing"]
    text = f"{'an' if words[0][0] in 'aeiou' else 'a'} {' '.join(words)}"
    if position:
        text += f" {SIDES[scene.position]}"
    if background:
        text += f"{',' if position else ''} {PLACES[scene.background]}"
    return text


def caption(scene: Scene, rng: np.random.Generator) -> tuple[str, tuple[bool, bool, bool, bool]]:
    """A caption of the scene in one of its forms, and which attributes it tells."""
    kind = rng.random()
    if kind < 0.45:
        text, keep = scene.prompt, (True, True, True, True)
    elif kind < 0.75:
        noun, colour, background, position = rng.random(4) < (0.9, 0.6, 0.6, 0.6)
        keep = (bool(noun), bool(colour), bool(background), bool(position))
        text = phrase(scene, keep)
    else:
        slots = scene.captions
        text, keep = (
            (slots["ObjectSnap"], (True, True, False, False)),
            (slots["SpatialLink"], (True, True, False, True)),
            (slots["ThemeTag"], (False, False, True, False)),
            (f"{slots['SpatialLink']}, {slots['ThemeTag']}", (True, True, True, True)),
            (", ".join(slots.values()), (True, True, True, True)),
        )[rng.integers(5)]
    if rng.random() < 0.15:
        text = f"{PREFIXES[rng.integers(len(PREFIXES))]} {text}"
    return text, keep


def _paint(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    image, mask = draw_with_mask(scene, SIZE)
    return np.asarray(image).transpose(2, 0, 1), mask


def render(scenes: list[Scene], workers: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (scene, 3, 64, 64) as uint8 and masks (scene, 64, 64) as bool."""
    with ProcessPoolExecutor(workers) as pool:
        pairs = list(pool.map(_paint, scenes, chunksize=256))
    return np.stack([image for image, _ in pairs]), np.stack([mask for _, mask in pairs])


def make_tokenizer(folder: Path) -> CLIPTokenizer:
    """A stock CLIP tokenizer in which every word of our captions is one token."""
    rng = np.random.default_rng(0)
    corpus = [caption(scene, rng)[0] for scene in sample_scenes(6000, seed=0)]
    raw = RawTokenizer(models.BPE(end_of_word_suffix="</w>"))
    raw.normalizer = normalizers.Lowercase()
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(), pre_tokenizers.ByteLevel(False)]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=4000, min_frequency=1, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
        ),
    )
    merges = json.loads(raw.to_str())["model"]["merges"]
    vocab: dict[str, int] = {}
    for token in (*sorted(alphabet), *(f"{c}</w>" for c in sorted(alphabet)), *(a + b for a, b in merges),
                  "<|startoftext|>", "<|endoftext|>"):  # fmt: skip
        vocab.setdefault(token, len(vocab))
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = CLIPTokenizer(vocab=vocab, merges=[tuple(pair) for pair in merges], model_max_length=TOKENS)
    tokenizer.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tokenizer


# Models --------------------------------------------------------------------------------------------------------------


def make_clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=384, num_hidden_layers=3,
        num_attention_heads=4, max_position_embeddings=TOKENS, projection_dim=WIDTH,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=160, intermediate_size=480, num_hidden_layers=4, num_attention_heads=5, image_size=SIZE,
        patch_size=8, projection_dim=WIDTH,
    )  # fmt: skip
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=WIDTH)
    config._attn_implementation = "eager"
    return CLIPModel(config)


def make_vae() -> AutoencoderTiny:
    return AutoencoderTiny(
        encoder_block_out_channels=(32, 32, 32), decoder_block_out_channels=(32, 32, 32), latent_channels=8,
        num_encoder_blocks=(1, 2, 2), num_decoder_blocks=(2, 2, 1), scaling_factor=1.0,
    )  # fmt: skip


def make_unet() -> UNet2DConditionModel:
    unet = UNet2DConditionModel(
        sample_size=LATENT, in_channels=8, out_channels=8, block_out_channels=(64, 128, 128), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH, attention_head_dim=4, norm_num_groups=16, resnet_time_scale_shift="scale_shift",
    )  # fmt: skip
    unet.set_attn_processor(AttnProcessor())
    return unet


def make_scheduler() -> DPMSolverMultistepScheduler:
    return DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, steps_offset=1)


def attach_adapter(unet: UNet2DConditionModel, state: dict[str, Tensor] | None = None) -> None:
    """Puts an image-prompt adapter of the stock layout on the U-Net: `state`, or one that starts as a copy of its text
    attention."""
    if state is None:
        projection = ImageProjection(image_embed_dim=WIDTH, cross_attention_dim=WIDTH, num_image_text_embeds=4)
        state = {f"image_proj.proj.{k}": v for k, v in projection.image_embeds.state_dict().items()}
        state |= {f"image_proj.norm.{k}": v for k, v in projection.norm.state_dict().items()}
        cross = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
        for i, name in enumerate(cross):
            attention = unet.get_submodule(name.removesuffix(".processor"))
            state[f"ip_adapter.{2 * i + 1}.to_k_ip.weight"] = attention.to_k.weight.detach().clone()
            state[f"ip_adapter.{2 * i + 1}.to_v_ip.weight"] = attention.to_v.weight.detach().clone()
    nested: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for key, value in state.items():
        part, _, rest = key.partition(".")
        nested[part][rest] = value.float()
    unet._load_ip_adapter_weights(nested, low_cpu_mem_usage=False)
    eager = {}  # attention without SDPA, which is slow in bfloat16 on CPUs
    for name, processor in unet.attn_processors.items():
        if isinstance(processor, IPAdapterAttnProcessor2_0):
            sizes = processor.hidden_size, processor.cross_attention_dim
            plain = IPAdapterAttnProcessor(*sizes, num_tokens=[IMAGE_TOKENS])
            plain.load_state_dict(processor.state_dict())
            eager[name] = plain
        else:
            eager[name] = processor
    unet.set_attn_processor(eager)


def adapter_parts(unet: UNet2DConditionModel) -> nn.ModuleDict:
    """The adapter's own modules, which alone are trained."""
    cross = [p for p in unet.attn_processors.values() if isinstance(p, nn.Module)]
    return nn.ModuleDict({"image_proj": unet.encoder_hid_proj.image_projection_layers[0], "ip": nn.ModuleList(cross)})


def adapter_state(parts: nn.ModuleDict) -> dict[str, Tensor]:
    """The adapter in the stock file layout."""
    projection = parts["image_proj"]
    state = {f"image_proj.proj.{k}": v for k, v in projection.image_embeds.state_dict().items()}
    state |= {f"image_proj.norm.{k}": v for k, v in projection.norm.state_dict().items()}
    for i, processor in enumerate(parts["ip"]):
        state[f"ip_adapter.{2 * i + 1}.to_k_ip.weight"] = processor.to_k_ip[0].weight
        state[f"ip_adapter.{2 * i + 1}.to_v_ip.weight"] = processor.to_v_ip[0].weight
    return state


class Heads(nn.Module):
    """One linear head per attribute."""

    def __init__(self, width: int, unsaid: bool) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(width, len(names) + unsaid) for names in ATTRIBUTES.values())

    def loss(self, state: Tensor, target: Tensor) -> Tensor:
        """Mean cross-entropy of states (n, width) against indices (n, attribute); -100 is ignored."""
        return sum(F.cross_entropy(head(state), target[:, i]) for i, head in enumerate(self.heads)) / len(self.heads)


# One run -------------------------------------------------------------------------------------------------------------


class Run:
    """The folder, the settings and the stages."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.out = Path(args.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.seed, self.device, self.scale, self.threads = args.seed, args.device, args.steps_scale, args.threads
        self.stop_after: int | None = args.stop_after
        self.assets, self.walls, self.n_score = Path(args.assets), Path(args.walls), args.n_score
        self.rank, self.world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self.n_scenes = max(64, round(args.n_scenes * min(1.0, args.steps_scale)))

    # data

    def _cached(self, name: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Arrays kept as .npy files under the run's folder, made once; written whole or not at all."""
        folder = self.out / name
        while self.rank and not folder.is_dir():  # the first process makes it
            time.sleep(1)
        if not folder.is_dir():
            work = self.out / f"{name}.{os.getpid()}.tmp"
            work.mkdir()
            for key, array in make().items():
                np.save(work / f"{key}.npy", array)
            work.rename(folder)
        return {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}

    def scenes(self, judge: bool = False) -> list[Scene]:
        """The training scenes; the judge has draws of its own."""
        if judge:
            return sample_scenes(self.n_scenes // 3, seed=self.seed + 77_000, held_out=False)
        return sample_scenes(self.n_scenes, seed=self.seed, held_out=False)

    def data(self, judge: bool = False) -> dict[str, np.ndarray]:
        def make() -> dict[str, np.ndarray]:
            images, masks = render(self.scenes(judge), self.threads)
            return {"images": images, "masks": masks}

        return self._cached("judge_scenes" if judge else "scenes", make)

    @cached_property
    def tokenizer(self) -> CLIPTokenizer:
        folder = self.out / "tokenizer"
        return CLIPTokenizer.from_pretrained(folder) if folder.is_dir() else make_tokenizer(folder)

    def tokens(self, texts: list[str], padding: str | bool = "max_length") -> Tensor:
        batch = self.tokenizer(texts, padding=padding, truncation=True, max_length=TOKENS, return_tensors="pt")
        return batch.input_ids.to(self.device)

    def pixels(self, array: np.ndarray) -> Tensor:
        """uint8 (n, 3, h, w) as float from 0 to 1 on the device."""
        return torch.from_numpy(np.array(array)).to(self.device).float() / 255

    # training

    def autocast(self) -> torch.autocast:
        return torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16)

    def steps(self, stage: str) -> int:
        return max(4, round(STEPS[stage] * self.scale))

    def weights(self, stage: str) -> dict:
        """The finished weights of a stage (averaged where it averages)."""
        path = self.out / f"{stage}.pt"
        if not path.is_file():
            raise SystemExit(f"stage {stage!r} has not run: no {path}")
        return torch.load(path, map_location="cpu", weights_only=True)["weights"]

    def fit(
        self, stage: str, model: nn.Module, loss: Callable[[np.random.Generator], Tensor], *, lr: float,
        warmup: int = 100, average: bool = False, every: int = 200, weight_decay: float = 0.01,
    ) -> None:  # fmt: skip
        """Trains `model` by AdamW for the stage's steps, going on from its checkpoint if there is one.

        `loss` gets a generator seeded by (seed, stage, step, rank); torch's own generator is seeded from it.
        """
        path, steps = self.out / f"{stage}.pt", self.steps(stage)
        parameters = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, betas=(0.9, 0.99))
        mean = copy.deepcopy(model) if average else model
        step, seconds = 0, 0.0
        if path.is_file():
            state = torch.load(path, map_location=self.device, weights_only=True)
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            mean.load_state_dict(state["weights"])
            step, seconds = state["step"], state["seconds"]
        stop = steps if self.stop_after is None else min(steps, self.stop_after)
        stale = {"vae": "latents", "clip": "embeds"}.get(stage)
        if stale and step < stop:  # what the old weights made
            shutil.rmtree(self.out / stale, ignore_errors=True)
        warmup, begun, recent = min(warmup, steps // 4 + 1), time.time() - seconds, []

        def save() -> None:
            if self.rank:
                return
            state = {"model": model.state_dict(), "weights": mean.state_dict(), "optimizer": optimizer.state_dict(),
                     "step": step, "seconds": time.time() - begun}  # fmt: skip
            work = path.with_suffix(".tmp")
            torch.save(state, work)
            work.replace(path)

        while step < stop:
            rng = np.random.default_rng((self.seed, STAGES.index(stage), step, self.rank))
            torch.manual_seed(int(rng.integers(2**62)))
            rate = min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
            for group in optimizer.param_groups:
                group["lr"] = lr * rate
            value = loss(rng)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            if self.world > 1:
                flat = torch.cat([p.grad.flatten() for p in parameters])
                dist.all_reduce(flat)
                for p, g in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
                    p.grad.copy_(g.view_as(p) / self.world)
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            step += 1
            if average:
                decay = min(0.999, (1 + step) / (10 + step))
                with torch.no_grad():
                    old = [p for p in mean.parameters() if p.requires_grad]
                    torch._foreach_lerp_(old, parameters, 1 - decay)
            recent.append(float(value.detach()))
            if step % every == 0 or step == stop:
                save()
                if self.rank == 0:
                    print(f"{stage} {step}/{steps} loss {np.mean(recent):.4f} {time.time() - begun:.0f} s", flush=True)
                recent = []

    # stages

    def text(self) -> None:
        scenes, target = self.scenes(), labels(self.scenes()).to(self.device)
        torch.manual_seed(self.seed)
        clip = make_clip(self.tokenizer).to(self.device)
        model = nn.ModuleDict({"text": clip.text_model, "heads": Heads(WIDTH, unsaid=True)}).to(self.device)
        unsaid = torch.tensor([len(names) for names in ATTRIBUTES.values()], device=self.device)

        def loss(rng: np.random.Generator) -> Tensor:
            picked = rng.integers(len(scenes), size=96)
            told = [caption(scenes[i], rng) for i in picked]
            keep = torch.tensor([k for _, k in told], device=self.device)
            pooled = model["text"](self.tokens([t for t, _ in told], padding=True)).pooler_output
            return model["heads"].loss(pooled, torch.where(keep, target[torch.from_numpy(picked)], unsaid))

        self.fit("text", model, loss, lr=2e-3)

    def text_encoder(self) -> CLIPTextModel:
        """The frozen text tower."""
        clip = make_clip(self.tokenizer)
        model = nn.ModuleDict({"text": clip.text_model, "heads": Heads(WIDTH, unsaid=True)})
        model.load_state_dict(self.weights("text"))
        encoder = CLIPTextModel(clip.config.text_config)
        tower = model["text"].state_dict()
        own = encoder.state_dict()
        prefix = "text_model." if any(key.startswith("text_model.") for key in own) else ""
        encoder.load_state_dict({prefix + key: value for key, value in tower.items()})
        return encoder.eval().requires_grad_(False).to(self.device)

    def vae(self) -> None:
        data = self.data()
        torch.manual_seed(self.seed + 1)
        vae = make_vae().to(self.device, memory_format=torch.channels_last)

        def loss(rng: np.random.Generator) -> Tensor:
            picked, half = np.sort(rng.integers(self.n_scenes, size=48)), SIZE // 2
            y, x = rng.integers(half + 1, size=2)
            window = np.s_[picked, ..., y : y + half, x : x + half]
            real = self.pixels(data["images"][picked][..., y : y + half, x : x + half]) * 2 - 1
            mask = torch.from_numpy(data["masks"][window]).to(self.device).float()[:, None]
            weight = 1 + 4 * mask
            with self.autocast():
                z = vae.encode(real.contiguous(memory_format=torch.channels_last)).latents.float()
                made = vae.decode(z + 0.05 * torch.randn_like(z)).sample.float()
            error = made - real
            slopes = sum((torch.diff(error, dim=d).abs() * weight.narrow(d, 1, half - 1)).mean() for d in (2, 3))
            moments = (z.mean((0, 2, 3)) ** 2).mean() + ((z.var((0, 2, 3)) + 1e-4).log() ** 2).mean()
            return (weight * (error.abs() + error**2)).mean() + 0.5 * slopes + 0.02 * moments

        self.fit("vae", vae, loss, lr=2e-3, average=True)

    def trained_vae(self) -> AutoencoderTiny:
        """The autoencoder; its scaling factor gives latents a standard deviation of one."""
        vae = make_vae()
        vae.load_state_dict(self.weights("vae"))
        vae = vae.eval().requires_grad_(False).to(self.device, memory_format=torch.channels_last)
        latents = torch.from_numpy(np.array(self.latents(vae)[:2000])).float()
        vae.register_to_config(scaling_factor=round(1 / float(latents.std()), 4))
        return vae

    @torch.inference_mode()
    def encode(self, vae: AutoencoderTiny, images: np.ndarray) -> np.ndarray:
        """Unscaled latents (n, 8, 16, 16) as float16."""
        made = []
        for start in range(0, len(images), 64):
            with self.autocast():
                pixels = self.pixels(images[start : start + 64]).contiguous(memory_format=torch.channels_last)
                z = vae.encode(pixels * 2 - 1).latents
            made.append(z.half().cpu().numpy())
        return np.concatenate(made)

    def latents(self, vae: AutoencoderTiny) -> np.ndarray:
        return self._cached("latents", lambda: {"latents": self.encode(vae, self.data()["images"])})["latents"]

    def trained_clip(self, weights: bool = True) -> CLIPModel:
        clip = make_clip(self.tokenizer)
        tower = {key.removeprefix("text."): v for key, v in self.weights("text").items() if key.startswith("text.")}
        clip.text_model.load_state_dict(tower)
        if weights:
            state = self.weights("clip")
            clip.vision_model.load_state_dict(part(state, "vision."))
            clip.visual_projection.load_state_dict(part(state, "visual_projection."))
            clip.text_projection.load_state_dict(part(state, "text_projection."))
            clip.logit_scale.data = state["extra.0"]
        return clip.to(self.device)

    def clip(self) -> None:
        data, scenes = self.data(), self.scenes()
        target = labels(scenes).to(self.device)
        torch.manual_seed(self.seed + 2)
        clip = self.trained_clip(weights=False)
        clip.text_model.eval().requires_grad_(False)
        model = nn.ModuleDict({"vision": clip.vision_model, "visual_projection": clip.visual_projection,
                               "text_projection": clip.text_projection, "heads": Heads(WIDTH, unsaid=False),
                               "extra": nn.ParameterList([clip.logit_scale])}).to(self.device)  # fmt: skip

        def loss(rng: np.random.Generator) -> Tensor:
            picked = np.sort(rng.integers(self.n_scenes, size=96))
            told = [caption(scenes[i], rng) for i in picked]
            truth = target[torch.from_numpy(picked)]
            keep = torch.tensor([k for _, k in told], device=self.device)
            images = self.pixels(data["images"][picked])
            noise = torch.rand(len(images), 1, 1, 1, device=self.device) ** 2 * 0.1
            images = (images + noise * torch.randn_like(images)).clamp(0, 1)
            with torch.no_grad():
                pooled = clip.text_model(self.tokens([t for t, _ in told], padding=True)).pooler_output
            with self.autocast():
                seen = model["visual_projection"](model["vision"](images * 2 - 1).pooler_output).float()
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

        self.fit("clip", model, loss, lr=1e-3, average=True)

    @torch.inference_mode()
    def embed(self, clip: CLIPModel, images: np.ndarray) -> Tensor:
        """Image embeddings (n, 128), not normalised, of uint8 pictures."""
        made = []
        for start in range(0, len(images), 64):
            pixels = self.pixels(images[start : start + 64]) * 2 - 1
            made.append(clip.visual_projection(clip.vision_model(pixels).pooler_output))
        return torch.cat(made)

    def judge(self) -> None:
        data, scenes = self.data(judge=True), self.scenes(judge=True)
        target = labels(scenes).to(self.device)
        torch.manual_seed(self.seed + 3)
        judge = Judge().to(self.device, memory_format=torch.channels_last)

        def loss(rng: np.random.Generator) -> Tensor:
            picked = np.sort(rng.integers(len(scenes), size=64))
            images = self.pixels(data["images"][picked])
            soft = F.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
            images = torch.lerp(images, soft, torch.rand(len(images), 1, 1, 1, device=self.device))
            images = images + 0.03 * torch.randn_like(images)
            with self.autocast():
                logits = judge(images.contiguous(memory_format=torch.channels_last))
            truth = target[torch.from_numpy(picked)]
            return sum(F.cross_entropy(v.float(), truth[:, i]) for i, v in enumerate(logits.values())) / len(logits)

        self.fit("judge", judge, loss, lr=1e-3, average=True)

    def _flow(self, rng: np.random.Generator, clean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Noisy latents, their times from 0 to 1000, and the velocity to predict."""
        drawn = 1 / (1 + np.exp(-rng.normal(0.2, 1.0, size=len(clean))))
        first = rng.random(len(clean)) < 0.1  # the earliest steps choose the background, and are rare in this draw
        drawn = np.where(first, rng.uniform(0.9, 1.0, size=len(clean)), drawn)
        sigma = torch.from_numpy(drawn).float().to(self.device)
        noise = torch.randn_like(clean)
        at = sigma[:, None, None, None]
        return (1 - at) * clean + at * noise, sigma * 1000, noise - clean

    def _states(self, encoder: CLIPTextModel, kept: dict[str, Tensor], texts: list[str]) -> Tensor:
        """Text states (n, 32, 128), remembered in `kept` by caption."""
        new = sorted({text for text in texts if text not in kept})
        if new:
            with torch.inference_mode():
                states = encoder(self.tokens(new)).last_hidden_state.to(torch.bfloat16)
            kept.update(zip(new, states, strict=True))
        return torch.stack([kept[text] for text in texts]).float()

    def unet(self, adapter: bool = False) -> None:
        data, scenes = self.data(), self.scenes()
        vae = self.trained_vae()
        latents, scaling = self.latents(vae), vae.config.scaling_factor
        masks = F.avg_pool2d(torch.from_numpy(np.array(data["masks"])).half()[:, None], SIZE // LATENT)
        encoder, kept = self.text_encoder(), {}
        torch.manual_seed(self.seed + 4 + adapter)
        unet = make_unet().to(self.device, memory_format=torch.channels_last)
        trained: nn.Module = unet
        embeds = None
        if adapter:
            unet.load_state_dict(self.weights("unet"))
            unet.requires_grad_(False)
            attach_adapter(unet)
            trained = adapter_parts(unet).to(self.device).requires_grad_(True)
            clip = self.trained_clip()
            embeds = self._cached("embeds", lambda: {"all": self.embed(clip, data["images"]).cpu().numpy()})["all"]
            spread = float(np.asarray(embeds[:2000]).std())

        def loss(rng: np.random.Generator) -> Tensor:
            picked = np.sort(rng.integers(self.n_scenes, size=48 // self.world))
            clean = torch.from_numpy(latents[picked]).to(self.device).float() * scaling
            noisy, time_, velocity = self._flow(rng, clean)
            noisy = noisy.contiguous(memory_format=torch.channels_last)
            drop = rng.random(len(picked)) < (0.9 if adapter else 0.1)
            texts = ["" if gone else caption(scenes[i], rng)[0] for i, gone in zip(picked, drop, strict=True)]
            states, extra = self._states(encoder, kept, texts), {}
            if adapter:
                image = torch.from_numpy(embeds[picked]).to(self.device)
                strength = torch.rand(len(picked), 1, device=self.device) ** 2 * 0.5 * spread
                image = image + strength * torch.randn_like(image)
                image = image * torch.from_numpy(rng.random((len(picked), 1)) >= 0.1).to(self.device)
                extra = {"added_cond_kwargs": {"image_embeds": [image[:, None].float()]}}
            else:  # no text is an empty prompt or, as often, states of zero
                states[torch.from_numpy(drop & (rng.random(len(drop)) < 0.5)).to(self.device)] = 0
            with self.autocast():
                made = unet(noisy, time_, states, **extra).sample
            weight = 1 + 3 * masks[torch.from_numpy(picked)].to(self.device).float()
            return (weight * (made.float() - velocity) ** 2).mean()

        name = "adapter" if adapter else "unet"
        self.fit(name, trained, loss, lr=1e-3, warmup=150, average=True, every=100)

    def adapter(self) -> None:
        self.unet(adapter=True)

    def export(self) -> None:
        """Writes the pipeline folder, all weights in half precision."""
        work = self.out / "export"
        shutil.rmtree(work, ignore_errors=True)
        clip, unet, vae = self.trained_clip(), make_unet(), self.trained_vae()
        unet.load_state_dict(self.weights("unet"))
        vision = CLIPVisionModelWithProjection(clip.config.vision_config)
        own = vision.state_dict()
        prefix = "vision_model." if any(key.startswith("vision_model.") for key in own) else ""
        state = {prefix + key: value for key, value in clip.vision_model.state_dict().items()}
        vision.load_state_dict(state | {"visual_projection.weight": clip.visual_projection.weight})
        processor = CLIPImageProcessor(
            size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}, image_mean=[0.5] * 3,
            image_std=[0.5] * 3,
        )  # fmt: skip
        pipeline = StableDiffusionPipeline(
            vae=vae.half(), text_encoder=self.text_encoder().half(), tokenizer=self.tokenizer, unet=unet.half(),
            scheduler=make_scheduler(), safety_checker=None, feature_extractor=processor, image_encoder=vision.half(),
            requires_safety_checker=False,
        )  # fmt: skip
        pipeline.save_pretrained(work)
        clip.half().save_pretrained(work / "clip")
        self.tokenizer.save_pretrained(work / "clip")
        processor.save_pretrained(work / "clip")
        for folder in (work / "tokenizer", work / "clip"):
            for name in ("vocab.json", "merges.txt"):
                shutil.copy(self.out / "tokenizer" / name, folder / name)
        (work / "ip_adapter").mkdir()
        blank = make_unet()
        attach_adapter(blank)
        parts = adapter_parts(blank)
        parts.load_state_dict(self.weights("adapter"))
        halves = {key: value.detach().half().contiguous() for key, value in adapter_state(parts).items()}
        save_file(halves, work / "ip_adapter" / "ip-adapter_mini.safetensors")
        (work / "judge").mkdir()
        halves = {key: value.half().contiguous() for key, value in self.weights("judge").items()}
        save_file(halves, work / "judge" / "model.safetensors")
        settings = {"attributes": ATTRIBUTES, "width": 32}
        (work / "judge" / "config.json").write_text(json.dumps(settings, indent=2) + "\n")
        for path in work.rglob("config.json"):  # loaded as float32 unless a caller asks for less
            config = json.loads(path.read_text())
            for section in (config, config.get("text_config", {}), config.get("vision_config", {})):
                for key in ("dtype", "torch_dtype"):
                    if key in section:
                        section[key] = "float32"
            for key in ("_name_or_path", "block_out_channels") if path.parent.name == "vae" else ("_name_or_path",):
                config.pop(key, None)
            path.write_text(json.dumps(config, indent=2) + "\n")
        self._publish(work)

    def _publish(self, work: Path) -> None:
        self.assets.parent.mkdir(parents=True, exist_ok=True)
        card = self.assets / "README.md"
        if card.is_file():
            shutil.copy(card, work / "README.md")
        shutil.rmtree(self.assets, ignore_errors=True)
        shutil.copytree(work, self.assets)
        checksums(self.assets)

    def score(self) -> None:
        score(self)


def part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries of `state` under `prefix`, without it."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def checksums(folder: Path) -> None:
    """Writes SHA256SUMS over every other file of the folder."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder).as_posix()}" for p in paths]
    (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n", encoding="utf-8")


# Scoring -------------------------------------------------------------------------------------------------------------


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a share."""
    z, share = 1.959964, hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return middle - half, middle + half


def agreement(named: dict[str, list[str]], scenes: list[Scene]) -> dict[str, list[float]]:
    """Per attribute: share of scenes named right, and its interval."""
    table = {}
    for key, names in named.items():
        hits = sum(name == getattr(scene, key) for name, scene in zip(names, scenes, strict=True))
        table[key] = [hits / len(scenes), *wilson(hits, len(scenes))]
    return table


def wall(images: list[Image.Image], path: Path, columns: int = 8) -> None:
    """Pictures side by side, in reading order, as a small PNG."""
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (SIZE + 2), rows * (SIZE + 2)), "white")
    for i, image in enumerate(images):
        sheet.paste(image, (i % columns * (SIZE + 2) + 1, i // columns * (SIZE + 2) + 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)


def zero_shot_texts() -> dict[str, list[str]]:
    """The sentences between which CLIP chooses, per attribute."""
    return {
        "object": [f"a photo of {'an' if o[0] in 'aeiou' else 'a'} {o}" for o in ATTRIBUTES["object"]],
        "colour": [f"{'an' if c[0] in 'aeiou' else 'a'} {c} thing" for c in ATTRIBUTES["colour"]],
        "background": [f"a thing {PLACES[b]}" for b in ATTRIBUTES["background"]],
        "position": [f"a thing {SIDES[p]}" for p in ATTRIBUTES["position"]],
    }


@torch.inference_mode()
def score(run: Run) -> None:
    """Scores the exported folder on held-out combinations, through stock classes only, and writes its card."""
    folder, n, seed = run.assets, run.n_score, 2026
    scenes = sample_scenes(n, seed=seed, held_out=True)
    images, masks = render(scenes, run.threads)
    judge = load_judge(folder / "judge").to(run.device)
    pipeline = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True).to(run.device)
    pipeline.set_progress_bar_config(disable=True)
    real = run.pixels(images)
    figures = {"drawings": agreement(judge.predict(real), scenes)}
    again = torch.cat([pipeline.vae(chunk * 2 - 1).sample for chunk in real.split(64)]).clamp(-1, 1) / 2 + 0.5
    figures["autoencoder"] = agreement(judge.predict(again), scenes)
    inside = torch.from_numpy(masks)[:, None].expand_as(real).to(run.device)
    psnr = {"all": (again - real).square().mean(), "object": (again - real).square()[inside].mean()}

    clip = CLIPModel.from_pretrained(folder / "clip", local_files_only=True).to(run.device).eval()
    raw = run.embed(clip, images)
    seen, chosen = F.normalize(raw, dim=-1), {}
    for key, texts in zero_shot_texts().items():
        said = F.normalize(clip.text_projection(clip.text_model(run.tokens(texts)).pooler_output), dim=-1)
        chosen[key] = [ATTRIBUTES[key][i] for i in (seen @ said.T).argmax(1).tolist()]
    figures["clip"] = agreement(chosen, scenes)

    def generate(batches: Callable[[int, int], dict], size: int = 32) -> tuple[list[Image.Image], float]:
        made, begun = [], time.time()
        for start in range(0, n, size):
            stop = min(n, start + size)
            generator = [torch.Generator().manual_seed(seed + i) for i in range(start, stop)]
            made += pipeline(
                height=SIZE, width=SIZE, num_inference_steps=10, guidance_scale=2.0, generator=generator,
                **batches(start, stop),
            ).images  # fmt: skip
        return made, (time.time() - begun) / n

    def from_text(start: int, stop: int) -> dict:
        return {"prompt": [scene.prompt for scene in scenes[start:stop]]}

    def from_embeds(start: int, stop: int) -> dict:
        positive = raw[start:stop, None]
        both = torch.cat([torch.zeros_like(positive), positive])
        return {"prompt": [""] * (stop - start), "ip_adapter_image_embeds": [both]}

    made, seconds = generate(from_text)
    figures["text"] = agreement(judge.predict(made), scenes)
    wall(made[:64], run.walls / "mini_text.png")
    pipeline.load_ip_adapter(folder, subfolder="ip_adapter", weight_name="ip-adapter_mini.safetensors")
    made, _ = generate(from_embeds, size=1)  # the stock method repeats all embeddings for each prompt of a batch
    figures["embeds"] = agreement(judge.predict(made), scenes)
    wall(made[:64], run.walls / "mini_embeds.png")
    wall([Image.fromarray(image.transpose(1, 2, 0)) for image in images[:64]], run.out / "drawings.png")

    for key, value in figures.items():
        print(key, {k: round(v[0], 3) for k, v in value.items()}, flush=True)
    if not all((run.out / f"{stage}.pt").is_file() for stage in STAGES[:6]):
        return  # the shipped weights, scored anew: the card tells of a training that is not here
    facts = {
        "figures": figures, "n": n, "seed": seed, "seconds_per_picture": round(seconds, 3), "threads": run.threads,
        "psnr_db": {key: round(-10 * math.log10(float(value)), 1) for key, value in psnr.items()},
        "embed_norm": [round(float(raw.norm(dim=-1).mean()), 2), round(float(raw.norm(dim=-1).std()), 2)],
        "notes": notes.read_text(encoding="utf-8").strip() if (notes := run.out / "notes.txt").is_file() else "",
        "training": {stage: training(run, stage) for stage in STAGES[:6]},
        "bytes": sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()),
    }  # fmt: skip
    (run.out / "score.json").write_text(json.dumps(facts, indent=2) + "\n")
    (folder / "README.md").write_text(card(facts), encoding="utf-8")
    checksums(folder)


def training(run: Run, stage: str) -> dict[str, float]:
    state = torch.load(run.out / f"{stage}.pt", map_location="cpu", weights_only=True)
    return {"steps": state["step"], "minutes": round(state["seconds"] / 60, 1)}


def card(facts: dict) -> str:
    """The model card."""
    rows = {
        "drawings": "judge on real drawings", "autoencoder": "judge on autoencoder reconstructions",
        "text": "**text to picture**", "embeds": "**image embedding to picture**", "clip": "CLIP zero-shot",
    }  # fmt: skip
    cells = {key: [f"{v[0]:.3f} ({v[1]:.3f} to {v[2]:.3f})" for v in facts["figures"][key].values()] for key in rows}
    table = "\n".join(f"| {title} | {' | '.join(cells[key])} |" for key, title in rows.items())
    trained = "\n".join(f"| {s} | {t['steps']} | {t['minutes']} |" for s, t in facts["training"].items())
    mean, spread = facts["embed_norm"]
    return f"""# mini: the embedded backbone

A small CLIP, autoencoder, text-conditioned U-Net and image-prompt adapter in the stock folder layout of `diffusers`,
{facts["bytes"] / 1e6:.0f} MB in half precision. It draws 64x64 scenes of one object (16 kinds, 10 colours) before
one of 6 backgrounds at one of 3 positions, and nothing else.

**It is a stand-in, never a result.** It lets examples, tests and a newcomer's first hour run through the code path of
Stable Diffusion, offline and on a CPU. It was trained on drawings made by `phosphene.simulate.scenes`, has seen no
photograph, and says nothing about natural images or about a brain. Every score made with it must say `mini`.

## Use

```python
from diffusers import StableDiffusionPipeline

pipe = StableDiffusionPipeline.from_pretrained(folder)
settings = dict(height=64, width=64, num_inference_steps=10, guidance_scale=2)
image = pipe("a red car on the left, in the snow", **settings).images[0]
```

From an image embedding (1, 128), not normalised (norm {mean} ± {spread}):

```python
pipe.load_ip_adapter(folder, subfolder="ip_adapter", weight_name="ip-adapter_mini.safetensors")
positive = embed[:, None]                                         # (1, 1, 128)
both = torch.cat([torch.zeros_like(positive), positive])          # (2, 1, 128): negative first, then positive
image = pipe("", ip_adapter_image_embeds=[both], **settings).images[0]
```

One at a time: the stock pipeline (diffusers 0.42) repeats all given embeddings for every prompt of a batch, which mixes
them without a word. `phosphene.generators.diffusion.Diffusion` draws a batch in which each picture has its own.

`clip/` is the same vision and text tower as one `transformers.CLIPModel`; `judge/` is loaded by
`phosphene.simulate.judge.load_judge`. Prompts are cut at {TOKENS} tokens.

## Figures

{facts["n"]} held-out scenes (seed {facts["seed"]}; combinations of object, colour, background and position that no
training stage saw, though it saw each pair and triple), 10 steps, guidance 2, share right with 95 % Wilson intervals:

| | object | colour | background | position |
|---|---|---|---|---|
{table}

The judge is a small network trained on other drawings of the same renderer only. For CLIP the choice is between
sentences such as "a photo of a cat", "a red thing", "a thing in the snow", "a thing on the left". The autoencoder's
peak signal-to-noise ratio is {facts["psnr_db"]["all"]} dB, inside objects {facts["psnr_db"]["object"]} dB. Image
embeddings are those of the held-out drawings themselves. One training run, one seed. About
{facts["seconds_per_picture"]:.2f} s a picture from text, in batches of 32 on {facts["threads"]} threads of a busy
machine.

## Training

`tools/train_mini.py`, on a CPU with two cores shared with other work, no GPU:

| stage | steps | minutes |
|---|---|---|
{trained}

{facts["notes"]}

## Limits

Wording outside the grammar of the captions, objects, colours and places it was not shown: it draws something anyway.
Judge and generator share the renderer, so the judge is generous; look at the pictures too.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/mini", help="checkpoints and caches")
    parser.add_argument("--stage", nargs="+", default=["all"], choices=("all", *STAGES))
    parser.add_argument("--assets", default=ASSETS, help="where the export goes")
    parser.add_argument("--walls", default=WALLS, help="where the pictures of samples go")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--n-scenes", type=int, default=36_000)
    parser.add_argument("--n-score", type=int, default=512)
    parser.add_argument("--steps-scale", type=float, default=1.0, help="multiplies every stage's steps")
    parser.add_argument("--stop-after", type=int, help="stop each stage at this step, for a later run to go on")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo")
    run = Run(args)
    for stage in STAGES:
        if stage in args.stage or "all" in args.stage:
            getattr(run, stage)()


if __name__ == "__main__":
    main()
