"""The one table of pretrained models: a new backbone is one row.

`mini` ships with the package and is loaded by the same calls as a model of the Hub, from a local folder.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phosphene.errors import PhospheneError, nearest
from phosphene.files import digest

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline
    from transformers import CLIPModel

ASSETS = Path(__file__).parent / "assets"


@dataclass(frozen=True)
class Backbone:
    """Where a model comes from and how it is used by default.

    Parameters
    ----------
    repo : Hub id, or the name of a folder among the package's assets.
    revision : commit or tag; None takes the Hub's main branch and the run records what it got.
    kind : "clip", "diffusion", or "both" for a folder that holds a CLIP in `clip_subfolder` beside a pipeline.
    adapter : (repo, subfolder, file) of the image-prompt adapter, or None.
    steps, guidance, size : sampler steps, classifier-free guidance scale, picture side in pixels.
    """

    name: str
    kind: str
    repo: str
    licence: str
    revision: str | None = None
    local: bool = False
    clip_subfolder: str = ""
    adapter: tuple[str, str, str] | None = None
    steps: int = 50
    guidance: float = 7.5
    size: int = 512
    note: str = ""

    @property
    def source(self) -> str:
        """What `from_pretrained` is given."""
        return str(ASSETS / self.repo) if self.local else self.repo

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
            "mini", "both", "mini", "BSD-3-Clause", local=True, clip_subfolder="clip",
            adapter=("mini", "ip_adapter", "ip-adapter_mini.safetensors"), steps=8, guidance=2.0, size=128,
            note="embedded stand-in trained on drawn scenes; never a result",
        ),
        Backbone("clip-vit-l14", "clip", "openai/clip-vit-large-patch14", "MIT", size=224),
        Backbone("clip-vit-h14", "clip", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K", "MIT", size=224),
        Backbone(
            "sd15", "diffusion", "stable-diffusion-v1-5/stable-diffusion-v1-5", "CreativeML OpenRAIL-M",
            adapter=("h94/IP-Adapter", "models", "ip-adapter_sd15.safetensors"), note="adapter takes clip-vit-h14",
        ),
        Backbone(
            "sdxl-turbo", "diffusion", "stabilityai/sdxl-turbo", "Stability AI non-commercial",
            adapter=("h94/IP-Adapter", "sdxl_models", "ip-adapter_sdxl_vit-h.safetensors"), steps=4, guidance=0.0,
            note="adapter takes clip-vit-h14",
        ),
    )
}  # fmt: skip


def backbone(name: str, kind: str) -> Backbone:
    """The row of ``name``, checked to be of ``kind`` ("clip" or "diffusion")."""
    known = {n: row for n, row in BACKBONES.items() if row.kind in (kind, "both")}
    if name not in known:
        raise PhospheneError(f"unknown {kind} backbone '{name}': {nearest(name, known)}")
    return known[name]


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
    where: dict[str, Any] = {
        "subfolder": row.clip_subfolder,
        "revision": row.revision or "main",
        "local_files_only": row.local,
    }
    with _readable(row):
        from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel

        model = CLIPModel.from_pretrained(row.source, dtype="float32", **where)
        processor = CLIPImageProcessorPil.from_pretrained(row.source, **where)
        tokenizer = AutoTokenizer.from_pretrained(row.source, **where)
    return model.eval().requires_grad_(False), processor, tokenizer


def load_pipeline(name: str, device: str = "cpu") -> "DiffusionPipeline":
    """The stock text-to-image pipeline of a diffusion backbone, silent, without its safety checker."""
    import torch

    row = backbone(name, "diffusion")
    dtype = torch.float32 if device == "cpu" else torch.float16
    with _readable(row):
        from diffusers import AutoPipelineForText2Image

        pipe = AutoPipelineForText2Image.from_pretrained(
            row.source, revision=row.revision, dtype=dtype, local_files_only=row.local
        )
        pipe.to(device)
    pipe.set_progress_bar_config(disable=True)
    return pipe


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


@contextmanager
def quiet() -> Iterator[None]:
    """No bars and no advice from transformers and diffusers meanwhile."""
    import diffusers
    import transformers

    logs = (diffusers.utils.logging, transformers.utils.logging)
    before = [(log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs]
    for log in logs:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, (verbosity, bar) in zip(logs, before, strict=True):
            log.set_verbosity(verbosity)
            if bar:
                log.enable_progress_bar()
