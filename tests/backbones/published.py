"""Backbones from their published configurations: at full size without weights, or small with random ones."""

import json
from dataclasses import replace
from math import prod
from pathlib import Path

import diffusers
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import CLIPImageProcessorPil, GitConfig, GitForCausalLM, PreTrainedTokenizerFast

from phosphene.backbones.table import ASSETS, BACKBONES, Backbone, Shapes, load_tokenizer

CONFIGS = Path(__file__).parent / "configs"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"word{i}" for i in range(60))]
VISION = {
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 7,
}


def published(name):
    """{source, pipeline, parts: {part: {class, parameters, config}}, scheduler, adapter} of a row of the table."""
    if name != "mini":
        return json.loads((CONFIGS / f"{name}.json").read_text(encoding="utf-8"))
    folder = ASSETS / "mini"
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8")) | {"clip": [None, "CLIPModel"]}
    parts = {
        part: {
            "class": index[part][1],
            "parameters": sum(shapes(folder / part).values()),
            "config": json.loads((folder / part / "config.json").read_text(encoding="utf-8")),
        }
        for part in ("unet", "vae", "text_encoder", "clip")
    }
    scheduler = json.loads((folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
    return {
        "source": "the package",
        "pipeline": index["_class_name"],
        "parts": parts,
        "scheduler": {"class": index["scheduler"][1], "config": scheduler},
        "adapter": {"tokens": 4, "image": 128, "parameters": sum(shapes(folder / "ip_adapter").values())},
    }


def shapes(folder):
    """Number of values of each tensor in a folder's safetensors files, from their headers alone."""
    sizes = {}
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        sizes |= {key: prod(entry["shape"]) for key, entry in header.items() if key != "__metadata__"}
    return sizes


def build(part, device="meta"):
    """The module of a part; on the meta device it has shapes and no weights."""
    library = diffusers if hasattr(diffusers, part["class"]) else transformers
    cls = getattr(library, part["class"])
    with torch.device(device):
        module = cls.from_config(part["config"]) if library is diffusers else cls(cls.config_class(**part["config"]))
    return module.eval()


def pipeline(name, parts=None, device="meta"):
    """The stock pipeline of a diffusion row; captions are cut into tokens by the tokenizer of `mini`."""
    facts = published(name)
    parts = parts or facts["parts"]
    modules = {part: build(parts[part], device) for part in parts if part != "clip"}
    scheduler = getattr(diffusers, facts["scheduler"]["class"]).from_config(facts["scheduler"]["config"])
    tokenizers = {
        part.replace("text_encoder", "tokenizer"): load_tokenizer("mini") for part in modules if "text" in part
    }
    options = {} if "text_encoder_2" in modules else {"safety_checker": None, "requires_safety_checker": False}
    options |= {"feature_extractor": None}
    pipe = getattr(diffusers, facts["pipeline"])(**modules, **tokenizers, scheduler=scheduler, **options)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def adapter_states(pipe, adapter, device="meta"):
    """Random weights of an image-prompt adapter of the published shapes for a pipeline's U-Net."""
    dim, n = pipe.unet.config.cross_attention_dim, adapter["tokens"]

    def values(*shape):
        return torch.randn(*shape, device=device) * 0.5

    states = {
        "image_proj": {
            "proj.weight": values(n * dim, adapter["image"]),
            "proj.bias": values(n * dim),
            "norm.weight": values(dim),
            "norm.bias": values(dim),
        },
        "ip_adapter": {},
    }
    names = [key for key in pipe.unet.attn_processors if key.endswith("attn2.processor")]
    for i, key in enumerate(names):
        width = pipe.unet.get_submodule(key.removesuffix(".processor")).to_q.out_features
        for which in ("to_k_ip", "to_v_ip"):
            states["ip_adapter"][f"{2 * i + 1}.{which}.weight"] = values(width, dim)
    return states


def attach(pipe, adapter, device="meta"):
    """An image-prompt adapter of the published shapes, by the call that loads a published one."""
    states = adapter_states(pipe, adapter, device)
    pipe.load_ip_adapter(states, subfolder="", weight_name="", image_encoder_folder=None)
    return sum(t.numel() for part in states.values() for t in part.values())


def small_row(name, folder):
    """`small` with an adapter, as a folder, and the row that a table would have for it."""
    pipe = small(name)
    pipe.save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        states = adapter_states(pipe, published(name)["adapter"], "cpu")
    (folder / "adapter").mkdir()
    flat = {f"{part}.{key}": value for part, held in states.items() for key, value in held.items()}
    save_file(flat, folder / "adapter" / "adapter.safetensors")
    row = BACKBONES[name]
    adapter = (str(folder), "adapter", "adapter.safetensors")
    return replace(row, name="tiny", repo=str(folder), adapter=adapter, steps=2, size=64)


def small(name, seed=0):
    """A pipeline of the row's classes, scheduler and options, of a few thousand random weights, drawing 64 pixels."""
    parts = json.loads(json.dumps(published(name)["parts"]))
    encoders = [part for part in parts if part.startswith("text_encoder")]
    for part in encoders:
        parts[part]["config"] |= {
            "vocab_size": 966,
            "bos_token_id": 964,
            "eos_token_id": 965,
            "pad_token_id": 965,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "projection_dim": 24,
        }
    unet = parts["unet"]["config"]
    n = len(unet["block_out_channels"])
    unet |= {
        "block_out_channels": [16, 32, 32, 32][:n],
        "cross_attention_dim": 32 * len(encoders),
        "norm_num_groups": 8,
        "attention_head_dim": [2] * n,
        "layers_per_block": 1,
        "sample_size": 8,
    }
    if "addition_time_embed_dim" in unet:
        unet |= {
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + 24,
            "transformer_layers_per_block": [1] * n,
        }
    parts["vae"]["config"] |= {
        "block_out_channels": [8] * 4,
        "norm_num_groups": 4,
        "layers_per_block": 1,
        "sample_size": 64,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return pipeline(name, parts, "cpu")


def rows(*kinds):
    """Names of the rows of these kinds."""
    return [name for name, row in BACKBONES.items() if row.kind in kinds]


def small_git(frames=None):
    """GIT of a few thousand random weights that writes other words of other pictures."""
    config = GitConfig(
        vision_config=VISION,
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
        num_image_with_embedding=frames,
    )
    model = GitForCausalLM(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():  # as training leaves it: captions differ with the picture
        scale = 0.3 if parameter.ndim == 1 else 1 if "embedd" in name else 0.5 / parameter.shape[-1] ** 0.5
        gain = parameter.ndim == 1 and name.endswith("weight")
        parameter.copy_(scale * torch.randn(parameter.shape, generator=generator) + gain)
    model.git.visual_projection.visual_projection[1].weight.mul_(4)
    return model


def processor():
    """Pictures for `small_git`."""
    side = {"height": 28, "width": 28}
    return CLIPImageProcessorPil(size=side, crop_size=side)


def tokenizer():
    """The words of `small_git`."""
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", bos_token="[CLS]", eos_token="[SEP]"
    )


def git_row(folder):
    """`small_git` as a folder, and the row that a table would have for it."""
    for part in (small_git(), processor(), tokenizer()):
        part.save_pretrained(folder)
    return Backbone("tiny-git", "caption", str(folder), "none", Shapes(patches=(17, 24)), size=28)
