"""What `mini` is trained on: drawn scenes, their captions with what each tells, and the words that occur."""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer as RawTokenizer
from tokenizers import models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from transformers import CLIPTokenizer

from phosphene.simulate.drawings import KINDS
from phosphene.simulate.judge import ATTRIBUTES
from phosphene.simulate.scenes import NO_COMPANION, SIZE, Scene, a, draw_with_mask, sample_scenes

TOKENS = 77
FACTS: dict[str, tuple[str, ...]] = {"kind": tuple(sorted(set(KINDS.values()))), **ATTRIBUTES}
PREFIXES = ("a photo of", "a picture of", "a drawing of")
_SLOT_FACTS = {
    "KindName": {"kind"},
    "ColourNote": {"colour"},
    "SurfaceNote": {"pattern"},
    "LayoutPlan": {"position"},
    "PlaceView": {"background"},
    "ThemeTag": {"background", "light"},
    "LightHour": {"light"},
    "MoodWord": {"background", "light"},
}


def labels(scenes: Iterable[Scene]) -> Tensor:
    """Indices (scene, fact) into `FACTS`."""
    rows = [{"kind": KINDS[s.object], **{key: getattr(s, key) for key in ATTRIBUTES}} for s in scenes]
    return torch.tensor([[names.index(row[key]) for key, names in FACTS.items()] for row in rows])


def noun_facts(scene: Scene) -> set[str]:
    """What the words "a striped red car" tell."""
    return {"kind", "object", "colour"} | ({"pattern"} if scene.pattern != "plain" else set())


def slot_facts(scene: Scene, slot: str) -> set[str]:
    """What the caption of one slot tells."""
    if slot == "ObjectSnap":
        return noun_facts(scene)
    alone = scene.companion == NO_COMPANION
    if slot == "SpatialLink":
        return noun_facts(scene) | {"position"} | (set() if alone else {"companion"})
    return _SLOT_FACTS[slot] | ({"companion"} if slot == "LayoutPlan" and alone else set())


def phrase(scene: Scene, facts: set[str]) -> str:
    """The scene in the grammar of its prompt, telling only `facts`."""
    slots = scene.captions
    _, place, time = scene.prompt.rsplit(", ", 2)
    words = [scene.pattern] * ("pattern" in facts) + [scene.colour] * ("colour" in facts)
    text = a(" ".join([*words, scene.object if "object" in facts else "thing"]))
    if "position" in facts:
        text += slots["SpatialLink"].split(", ")[0].removeprefix(slots["ObjectSnap"])
    if "companion" in facts:
        text += f", {scene.relation} a small {scene.companion}"
    rest = [place] * ("background" in facts) + [time] * ("light" in facts)
    return text + "".join((", " if i or facts & {"position", "companion"} else " ") + r for i, r in enumerate(rest))


def caption(scene: Scene, rng: np.random.Generator) -> tuple[str, set[str]]:
    """A caption of the scene in one of its forms, and what it tells."""
    every = slot_facts(scene, "SpatialLink") | {"background", "light"}
    kind = rng.random()
    if kind < 0.45:
        text, facts = scene.prompt, every
    elif kind < 0.75:
        facts = {fact for fact in sorted(every - {"kind"}) if rng.random() < (0.9 if fact == "object" else 0.6)}
        text = phrase(scene, facts)
        facts |= {"kind"} if "object" in facts else set()
    else:  # some slots, in their order
        slots = scene.captions
        n = int(rng.choice((1, 2, 3, 4, 10), p=(0.4, 0.2, 0.2, 0.1, 0.1)))
        chosen = [list(slots)[i] for i in sorted(rng.permutation(len(slots))[:n])]
        text = ", ".join(slots[name] for name in chosen)
        facts = set().union(*(slot_facts(scene, name) for name in chosen))
    if rng.random() < 0.15:
        text = f"{PREFIXES[rng.integers(len(PREFIXES))]} {text}"
    return text, facts


def captions(scenes: list[Scene], rng: np.random.Generator) -> tuple[list[str], Tensor]:
    """One caption per scene, and which facts it tells: bool (scene, fact)."""
    told = [caption(scene, rng) for scene in scenes]
    return [text for text, _ in told], torch.tensor([[key in facts for key in FACTS] for _, facts in told])


def _paint(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    image, mask = draw_with_mask(scene, SIZE, companion=True)
    return np.asarray(image).transpose(2, 0, 1), mask


def render(scenes: list[Scene], workers: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (scene, 3, 128, 128) as uint8, and masks (scene, 128, 128) of objects and companions as bool."""
    images = np.empty((len(scenes), 3, SIZE, SIZE), np.uint8)
    masks = np.empty((len(scenes), SIZE, SIZE), bool)
    with ProcessPoolExecutor(workers) as pool:
        for i, (image, mask) in enumerate(pool.map(_paint, scenes, chunksize=64)):
            images[i], masks[i] = image, mask
    return images, masks


def make_tokenizer(folder: Path) -> CLIPTokenizer:
    """A stock CLIP tokenizer in which every word of our captions is one token."""
    rng = np.random.default_rng(0)
    corpus = [text for scene in sample_scenes(9000, seed=0) for text in (caption(scene, rng)[0], scene.prompt)]
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
    for token in (
        *sorted(alphabet),
        *(f"{c}</w>" for c in sorted(alphabet)),
        *(x + y for x, y in merges),
        "<|startoftext|>",
        "<|endoftext|>",
    ):
        vocab.setdefault(token, len(vocab))
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = CLIPTokenizer(vocab=vocab, merges=[tuple(pair) for pair in merges], model_max_length=TOKENS)
    tokenizer.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tokenizer
