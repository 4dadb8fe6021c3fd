"""The model card."""

from __future__ import annotations

from typing import Any

ROWS = {
    "drawings": "judge on real drawings",
    "autoencoder": "judge on autoencoder reconstructions",
    "text": "**text to picture**",
    "embeds": "**image embedding to picture**",
    "clip": "CLIP zero-shot",
    "unseen": "embedding to picture, objects never trained on",
}
COLUMNS = ("object", "colour", "background", "position", "all four", "light", "pattern", "companion")


def _cell(value: list[float] | None) -> str:
    return "" if value is None else f"{value[0]:.3f} ({value[1]:.3f} to {value[2]:.3f})"


def card(facts: dict[str, Any]) -> str:
    """The text of the card, from what `release.score` measured."""
    rows = "\n".join(
        f"| {title} | {' | '.join(_cell(facts['figures'][key].get(column)) for column in COLUMNS)} |"
        for key, title in ROWS.items()
    )
    steps = "\n".join(
        f"| {n} | {' | '.join(_cell(value[column]) for column in COLUMNS[:5])} |" for n, value in facts["steps"].items()
    )
    trained = "\n".join(f"| {s} | {t['steps']} | {t['minutes']} |" for s, t in facts["training"].items())
    mean, spread = facts["embed_norm"]
    return f"""# mini: the embedded backbone

A small CLIP, autoencoder, text-conditioned U-Net and image-prompt adapter in the stock folder layout of `diffusers`,
{facts["bytes"] / 1e6:.0f} MB in half precision. It draws 128x128 scenes of one object ({facts["seen"]} kinds, 10
colours, plain, striped or spotted) before one of 8 backgrounds, at one of 3 positions, in one of 4 kinds of light,
alone or with a small second thing; nothing else.

**It is a stand-in, never a result.** It lets examples, tests and a newcomer's first hour run through the code path of
Stable Diffusion, offline and on a CPU. It was trained on drawings made by `phosphene.simulate.scenes`, has seen no
photograph, and says nothing about natural images or about a brain. Every score made with it must say `mini`.

## Use

```python
from diffusers import StableDiffusionPipeline

pipe = StableDiffusionPipeline.from_pretrained(folder)
settings = dict(height=128, width=128, num_inference_steps=8, guidance_scale=2)
image = pipe("a red car on the left, in the snow, by day", **settings).images[0]
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
`phosphene.simulate.judge.load_judge`. Prompts are cut at 77 tokens, as in CLIP.

## Figures

{facts["n"]} held-out scenes (seed {facts["seed"]}; combinations of object, colour, background and position that no
training stage of `mini` saw, though it saw each pair and triple), 8 steps, guidance 2, share right with 95 % Wilson
intervals:

| | {" | ".join(COLUMNS)} |
|---|{"---|" * len(COLUMNS)}
{rows}

- The judge is a small network trained on other drawings of the same renderer only, all {facts["objects"]} objects and
  all combinations among them. "all four" are the four columns before it.
- CLIP zero-shot is the choice between sentences such as "a photo of a cat", "a red thing", "a thing in the snow", "a
  thing on the left". Recall@1 of 256 (the picture's own prompt among those of 256 pictures): {_cell(facts["recall"])}.
- Embeddings are those of the held-out drawings themselves. 2-way identification of the pictures drawn from them, by
  this CLIP, against all other originals: {_cell(facts["two_way"])} (bootstrap over pictures). It is this very CLIP
  whose embedding was drawn, so that figure is kind.
- Objects never trained on: {facts["n_unseen"]} scenes of four kinds; the judge rarely finds an object that `mini`
  cannot draw, and 2-way identification is {_cell(facts["unseen_two_way"])}.
- The autoencoder's peak signal-to-noise ratio is {facts["psnr_db"]["all"]} dB, inside objects
  {facts["psnr_db"]["object"]} dB.
- One training run, one seed. {facts["seconds_alone"]:.2f} s for one picture alone,
  {facts["seconds_per_picture"]:.2f} s a picture in batches of 32 ({facts["device"]}, {facts["threads"]} threads).

Steps against quality, text to picture, the first 128 of these scenes:

| steps | {" | ".join(COLUMNS[:5])} |
|---|{"---|" * 5}
{steps}

All of this is measured anew, and this card written, by `python tools/train_mini.py --stage score`.

## Training

`tools/train_mini.py`:

| stage | steps | minutes |
|---|---|---|
{trained}

{facts["notes"]}

## Limits

Wording outside the grammar of the captions, objects, colours and places it was not shown: it draws something anyway.
Judge and generator share the renderer, so the judge is generous; look at the pictures too.
"""
