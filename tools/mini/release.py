"""The last two stages: the folder as it ships, and its figures."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer, CLIPVisionModelWithProjection

from mini import loop
from mini.card import card
from mini.networks import adapter_parts, adapter_state, attach_adapter, make_scheduler, make_unet
from mini.stages import TRAINED, Run
from mini.world import render
from phosphene.simulate.judge import ATTRIBUTES, load_judge
from phosphene.simulate.scenes import OBJECTS, SEEN, SIZE, UNSEEN, Scene, a, sample_scenes

STEPS, GUIDANCE, PIPELINE_SEED = 8, 2.0, 2026
FOUR = ("object", "colour", "background", "position")


def export(run: Run, assets: Path, walls: Path, n: int) -> None:
    """Writes the pipeline folder, all weights in half precision and in files of at most 16 MB."""
    work = run.out / "export"
    shutil.rmtree(work, ignore_errors=True)
    clip, unet, vae = run.trained_clip(), make_unet(), run.trained_vae()
    unet.load_state_dict(run.weights("unet"))
    vision = CLIPVisionModelWithProjection(clip.config.vision_config)
    prefix = "vision_model." if any(key.startswith("vision_model.") for key in vision.state_dict()) else ""
    state = {prefix + key: value for key, value in clip.vision_model.state_dict().items()}
    vision.load_state_dict(state | {"visual_projection.weight": clip.visual_projection.weight})
    processor = run.processor()
    pipeline = StableDiffusionPipeline(
        vae=vae.half(),
        text_encoder=run.text_encoder().half(),
        tokenizer=run.tokenizer,
        unet=unet.half(),
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=processor,
        image_encoder=vision.half(),
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(work, max_shard_size="14MB")
    clip.half().save_pretrained(work / "clip")
    run.tokenizer.save_pretrained(work / "clip")
    processor.save_pretrained(work / "clip")
    for folder in (work / "tokenizer", work / "clip"):
        for name in ("vocab.json", "merges.txt"):
            shutil.copy(run.out / "tokenizer" / name, folder / name)
    (work / "ip_adapter").mkdir()
    blank = make_unet()
    attach_adapter(blank)
    parts = adapter_parts(blank)
    parts.load_state_dict(run.weights("adapter"))
    halves = {key: value.detach().half().contiguous() for key, value in adapter_state(parts).items()}
    save_file(halves, work / "ip_adapter" / "ip-adapter_mini.safetensors")
    (work / "judge").mkdir()
    halves = {key: value.half().contiguous() for key, value in run.weights("judge").items()}
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
    assets.parent.mkdir(parents=True, exist_ok=True)
    if (assets / "README.md").is_file():
        shutil.copy(assets / "README.md", work / "README.md")
    shutil.rmtree(assets, ignore_errors=True)
    shutil.copytree(work, assets)
    checksums(assets)


def checksums(folder: Path) -> None:
    """Writes SHA256SUMS over every other file of the folder."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder).as_posix()}" for p in paths]
    (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n", encoding="utf-8")


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a share."""
    z, share = 1.959964, hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return middle - half, middle + half


def share(right: np.ndarray | list[bool]) -> list[float]:
    """The share of what is right, and its interval."""
    hits = int(np.sum(right))
    return [hits / len(right), *wilson(hits, len(right))]


def agreement(named: dict[str, list[str]], scenes: list[Scene]) -> dict[str, list[float]]:
    """Per attribute, and for the first four together: share of scenes named right, and its interval."""
    right = {
        key: np.array([name == getattr(scene, key) for name, scene in zip(names, scenes, strict=True)])
        for key, names in named.items()
    }
    table = {key: share(value) for key, value in right.items()}
    if set(FOUR) <= set(right):
        table["all four"] = share(np.all([right[key] for key in FOUR], axis=0))
    return table


def two_way(made: Tensor, true: Tensor) -> list[float]:
    """How often a picture is nearer to its own original than to another one; bootstrap interval over pictures."""
    similar = F.normalize(made, dim=-1) @ F.normalize(true, dim=-1).T
    own = similar.diagonal()[:, None]
    wins = ((own > similar).float() + 0.5 * (own == similar).float()).fill_diagonal_(0).sum(1) / (len(made) - 1)
    rng = np.random.default_rng(0)
    means = wins.cpu().numpy()[rng.integers(len(wins), size=(2000, len(wins)))].mean(1)
    return [float(wins.mean()), *(float(v) for v in np.quantile(means, (0.025, 0.975)))]


def wall(images: list[Image.Image], path: Path, columns: int = 8) -> None:
    """Pictures side by side, in reading order, as a small PNG."""
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (SIZE + 2), rows * (SIZE + 2)), "white")
    for i, image in enumerate(images):
        sheet.paste(image, (i % columns * (SIZE + 2) + 1, i // columns * (SIZE + 2) + 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(255, dither=Image.Dither.NONE).save(path, optimize=True)


def zero_shot_texts() -> dict[str, list[str]]:
    """The sentences between which CLIP chooses, per attribute."""
    some = sample_scenes(500, seed=0)
    place = {s.background: s.prompt.rsplit(", ", 2)[1] for s in some}
    time_ = {s.light: s.prompt.rsplit(", ", 1)[1] for s in some}
    side = {s.position: s.captions["SpatialLink"].split(", ")[0].removeprefix(s.captions["ObjectSnap"]) for s in some}
    surface = {s.pattern: s.captions["SurfaceNote"] for s in some}
    return {
        "object": [f"a photo of {a(o)}" for o in SEEN],
        "colour": [f"{a(c)} thing" for c in ATTRIBUTES["colour"]],
        "background": [f"a thing {place[b]}" for b in ATTRIBUTES["background"]],
        "position": [f"a thing{side[p]}" for p in ATTRIBUTES["position"]],
        "light": [f"a thing {time_[light]}" for light in ATTRIBUTES["light"]],
        "pattern": [surface[p] for p in ATTRIBUTES["pattern"]],
    }


class Drawer:
    """The stock pipeline of the shipped folder."""

    def __init__(self, folder: Path, device: str) -> None:
        self.folder = folder
        self.pipeline = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True).to(device)
        self.pipeline.set_progress_bar_config(disable=True)

    def __call__(self, n: int, given: Callable[[int, int], dict[str, Any]], steps: int = STEPS, size: int = 32):
        made = []
        for start in range(0, n, size):
            stop = min(n, start + size)
            generator = [torch.Generator().manual_seed(PIPELINE_SEED + i) for i in range(start, stop)]
            made += self.pipeline(
                height=SIZE,
                width=SIZE,
                num_inference_steps=steps,
                guidance_scale=GUIDANCE,
                generator=generator,
                **given(start, stop),
            ).images
        return made

    def from_embeds(self, embeds: Tensor) -> list[Image.Image]:
        """One picture per embedding (n, 128), one at a time: the stock method repeats all of them for each prompt."""
        if getattr(self.pipeline.unet.config, "encoder_hid_dim_type", None) is None:
            self.pipeline.load_ip_adapter(
                self.folder, subfolder="ip_adapter", weight_name="ip-adapter_mini.safetensors"
            )

        def given(start: int, stop: int) -> dict[str, Any]:
            positive = embeds[start:stop, None]
            return {"prompt": "", "ip_adapter_image_embeds": [torch.cat([torch.zeros_like(positive), positive])]}

        return self(len(embeds), given, size=1)


@torch.inference_mode()
def score(run: Run, assets: Path, walls: Path, n: int) -> None:
    """Scores the shipped folder on held-out scenes, through stock classes only, and writes its card."""
    run.tokenizer = CLIPTokenizer.from_pretrained(assets / "tokenizer", local_files_only=True)
    scenes = sample_scenes(n, seed=PIPELINE_SEED, held_out=True)
    images, masks = render(scenes, 2)
    real = run.pixels(images)
    judge = load_judge(assets / "judge").to(run.device)
    draw = Drawer(assets, run.device)
    figures = {"drawings": agreement(judge.predict(real), scenes)}
    again = torch.cat([draw.pipeline.vae(chunk * 2 - 1).sample for chunk in real.split(32)]).clamp(-1, 1) / 2 + 0.5
    figures["autoencoder"] = agreement(judge.predict(again), scenes)
    inside = torch.from_numpy(masks)[:, None].expand_as(real).to(run.device)
    psnr = {"all": (again - real).square().mean(), "object": (again - real).square()[inside].mean()}

    clip = CLIPModel.from_pretrained(assets / "clip", local_files_only=True).to(run.device).eval()
    raw = run.embed(clip, images)
    seen, chosen = F.normalize(raw, dim=-1), {}
    for key, texts in zero_shot_texts().items():
        nearest = (seen @ F.normalize(run.said(clip, texts), dim=-1).T).argmax(1).tolist()
        chosen[key] = [(SEEN if key == "object" else ATTRIBUTES[key])[i] for i in nearest]
    figures["clip"] = agreement(chosen, scenes)
    said = F.normalize(run.said(clip, [scene.prompt for scene in scenes]), dim=-1)
    found = []
    for start in range(0, n - 255, 256):  # a picture is right where the caption that it finds is its own
        rows = slice(start, start + 256)
        found += ((seen[rows] @ said[rows].T).argmax(1) == torch.arange(256, device=seen.device)).tolist()
    extra: dict[str, Any] = {"recall": share(found) if found else None}

    def prompts(start: int, stop: int) -> dict[str, Any]:
        return {"prompt": [scene.prompt for scene in scenes[start:stop]]}

    begun = time.time()
    made = draw(n, prompts)
    seconds = (time.time() - begun) / n
    figures["text"] = agreement(judge.predict(made), scenes)
    wall(made[:64], walls / "mini_text.png")
    table = {}
    for steps in (4, 6, 8, 12, 20):
        some = made[:128] if steps == STEPS else draw(min(n, 128), prompts, steps)
        table[steps] = agreement(judge.predict(some), scenes[: len(some)])
    draw(1, prompts, size=1)
    alone = []
    for _ in range(5):
        begun = time.time()
        draw(1, prompts, size=1)
        alone.append(time.time() - begun)
    made = draw.from_embeds(raw)
    figures["embeds"] = agreement(judge.predict(made), scenes)
    wall(made[:64], walls / "mini_embeds.png")
    arrays = np.stack([np.asarray(image).transpose(2, 0, 1) for image in made])
    extra["two_way"] = two_way(run.embed(clip, arrays), raw)

    strange = sample_scenes(min(n, 128), seed=PIPELINE_SEED, objects=UNSEEN)
    truth = render(strange, 2)[0]
    goal = run.embed(clip, truth)
    made = draw.from_embeds(goal)
    figures["unseen"] = agreement(judge.predict(made), strange)
    arrays = np.stack([np.asarray(image).transpose(2, 0, 1) for image in made])
    extra["unseen_two_way"] = two_way(run.embed(clip, arrays), goal)
    shown = [Image.fromarray(picture.transpose(1, 2, 0)) for picture in truth[:16]]
    wall([image for pair in zip(shown, made[:16], strict=True) for image in pair], run.out / "unseen.png")
    wall([Image.fromarray(image.transpose(1, 2, 0)) for image in images[:64]], run.out / "drawings.png")
    for key, value in figures.items():
        print(key, {k: round(v[0], 3) for k, v in value.items()}, flush=True)
    print({k: v for k, v in extra.items()}, {k: v["all four"][0] for k, v in table.items()}, alone, flush=True)

    facts = {
        "figures": figures,
        **extra,
        "steps": table,
        "n": n,
        "n_unseen": len(strange),
        "seed": PIPELINE_SEED,
        "seconds_per_picture": round(seconds, 3),
        "seconds_alone": round(float(np.median(alone)), 2),
        "threads": run.threads,
        "device": run.device,
        "objects": len(OBJECTS),
        "seen": len(SEEN),
        "psnr_db": {key: round(-10 * math.log10(float(value)), 1) for key, value in psnr.items()},
        "embed_norm": [round(float(raw.norm(dim=-1).mean()), 2), round(float(raw.norm(dim=-1).std()), 2)],
        "notes": notes.read_text(encoding="utf-8").strip() if (notes := run.out / "notes.txt").is_file() else "",
        "bytes": sum(p.stat().st_size for p in assets.rglob("*") if p.is_file()),
    }
    trained = {stage: loop.load(run.out / stage) for stage in TRAINED}
    kept = assets / "training.json"
    if all(trained.values()):
        summary = {k: {"steps": v[0], "minutes": round(v[1] / 60, 1)} for k, v in trained.items() if v is not None}
        kept.write_text(json.dumps({"training": summary, "notes": facts["notes"]}, indent=2) + "\n")
    facts |= json.loads(kept.read_text(encoding="utf-8"))
    (run.out / "score.json").write_text(json.dumps(facts, indent=2) + "\n")
    (assets / "README.md").write_text(card(facts), encoding="utf-8")
    checksums(assets)
