"""The networks of `mini`, all of stock classes."""

from __future__ import annotations

from diffusers import AutoencoderTiny, DPMSolverMultistepScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor, IPAdapterAttnProcessor, IPAdapterAttnProcessor2_0
from diffusers.models.embeddings import ImageProjection
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTokenizer, CLIPVisionConfig

from mini.world import FACTS, TOKENS
from phosphene.simulate.scenes import SIZE

WIDTH, LATENT, CHANNELS, IMAGE_TOKENS = 128, SIZE // 8, 12, 4


def make_clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        projection_dim=WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = CLIPVisionConfig(
        hidden_size=160,
        intermediate_size=480,
        num_hidden_layers=5,
        num_attention_heads=5,
        image_size=SIZE,
        patch_size=16,
        projection_dim=WIDTH,
    )
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=WIDTH)
    config._attn_implementation = "eager"
    return CLIPModel(config)


def make_vae() -> AutoencoderTiny:
    return AutoencoderTiny(
        encoder_block_out_channels=(64,) * 4,
        decoder_block_out_channels=(64,) * 4,
        latent_channels=CHANNELS,
        num_encoder_blocks=(0, 1, 1, 2),
        num_decoder_blocks=(3, 2, 1, 0),
        scaling_factor=1.0,
    )


def make_unet() -> UNet2DConditionModel:
    unet = UNet2DConditionModel(
        sample_size=LATENT,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        block_out_channels=(64, 128, 192),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
        resnet_time_scale_shift="scale_shift",
    )
    unet.set_attn_processor(AttnProcessor())
    return unet


def make_scheduler() -> DPMSolverMultistepScheduler:
    return DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, steps_offset=1)


def attach_adapter(unet: UNet2DConditionModel, state: dict[str, Tensor] | None = None) -> None:
    """Puts an image-prompt adapter of the stock layout on the U-Net: `state`, or one that starts as a copy of its text
    attention."""
    if state is None:
        projection = ImageProjection(WIDTH, WIDTH, IMAGE_TOKENS)
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
            eager[name] = IPAdapterAttnProcessor(*sizes, num_tokens=[IMAGE_TOKENS])
            eager[name].load_state_dict(processor.state_dict())
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
    """One linear head per fact."""

    def __init__(self, width: int, unsaid: bool) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(width, len(names) + unsaid) for names in FACTS.values())

    def forward(self, state: Tensor) -> list[Tensor]:
        """Logits per fact, of states (n, width)."""
        return [head(state) for head in self.heads]

    def loss(self, state: Tensor, target: Tensor) -> Tensor:
        """Sum of cross-entropies of states (n, width) against indices (n, fact); -100 is ignored. Objects, of which
        there are most, weigh as much as all other facts together."""
        each = []
        for i, (name, logits) in enumerate(zip(FACTS, self(state), strict=True)):
            if (target[:, i] != -100).any():
                each.append(F.cross_entropy(logits, target[:, i]) * (1.0 if name == "object" else 1 / (len(FACTS) - 1)))
        return sum(each[1:], each[0])
