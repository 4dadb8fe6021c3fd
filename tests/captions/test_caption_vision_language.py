"""The local captioner on models built from their configuration, with random weights; nothing is downloaded."""

import huggingface_hub.constants
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers

from phosphene.captions import SLOTS, pictures_in, write
from phosphene.captions.vision_language import MODELS
from phosphene.errors import PhospheneError
from phosphene.registry import build

TWO = SLOTS[:2]
WORDS = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "<image>", *(f"word{i}" for i in range(59))]
SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of CLIP
VISION = {**SMALL, "image_size": 32, "patch_size": 16}


def tokenizer():
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        bos_token="[CLS]",
        eos_token="[SEP]",
        additional_special_tokens=["<image>"],
    )


def pixels():
    from transformers import CLIPImageProcessorPil

    return CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


def llava(folder):
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    template = (
        "{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'image' %}<image> {% else %}"
        "{{ c['text'] }} {% endif %}{% endfor %}{% endfor %}"
    )
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION),
        image_token_index=4,
        vision_feature_layer=-1,
        text_config=LlamaConfig(**SMALL, vocab_size=len(WORDS), pad_token_id=1, bos_token_id=2, eos_token_id=3),
    )
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config)
    model.generation_config.eos_token_id = None  # a random model would end anywhere
    model.save_pretrained(folder)
    LlavaProcessor(
        pixels(),
        tokenizer(),
        patch_size=16,
        vision_feature_select_strategy="default",
        chat_template=template,
        image_token="<image>",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)


def git(folder):
    from transformers import GitConfig, GitForCausalLM, GitProcessor

    config = GitConfig(
        vision_config=VISION, **SMALL, vocab_size=len(WORDS), pad_token_id=1, bos_token_id=2, eos_token_id=3
    )
    torch.manual_seed(0)
    GitForCausalLM(config).save_pretrained(folder)
    GitProcessor(pixels(), tokenizer()).save_pretrained(folder)


def blip2(folder):
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2Processor,
        Blip2QFormerConfig,
        Blip2VisionConfig,
        T5Config,
    )

    text = T5Config(
        vocab_size=len(WORDS),
        d_model=32,
        d_kv=16,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        pad_token_id=1,
        bos_token_id=2,
        eos_token_id=3,
        decoder_start_token_id=1,
    )
    config = Blip2Config(
        vision_config=Blip2VisionConfig(**VISION).to_dict(),
        text_config=text.to_dict(),
        num_query_tokens=2,
        qformer_config=Blip2QFormerConfig(**SMALL, vocab_size=len(WORDS), encoder_hidden_size=32).to_dict(),
        image_token_index=4,
    )
    torch.manual_seed(0)
    Blip2ForConditionalGeneration(config).save_pretrained(folder)
    Blip2Processor(pixels(), tokenizer(), num_query_tokens=2).save_pretrained(folder)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, size in enumerate(((40, 30), (30, 60), (32, 32))):
        Image.new("RGB", size, (80 * i, 0, 200)).save(folder / f"p{i}.png")
    return pictures_in(folder)


def said(folder, model, pictures, slots, out, batch_size=2):
    captioner = build("captioner", "vision_language", model=model, folder=str(folder), batch_size=batch_size)
    return write(captioner, pictures, out, slots)


def test_a_model_that_answers_fills_every_slot(pictures, tmp_path):
    llava(tmp_path / "m")
    made = said(tmp_path / "m", "llava-onevision-0.5b", pictures, TWO, tmp_path / "c")
    wide = made.wide()
    assert wide.shape == (3, 2)
    assert all(1 <= len(c.split()) <= slot.max_tokens - 2 for slot in TWO for c in wide[slot.name])
    assert all(word in WORDS for c in wide["KindName"] for word in c.split())  # what was asked is not repeated
    one = said(tmp_path / "m", "llava-onevision-0.5b", pictures, TWO, tmp_path / "d", batch_size=1).wide()
    assert one.equals(wide)
    assert made.rows["model"].iloc[0].startswith("vision_language llava-onevision-0.5b a local folder@")


def test_a_model_that_says_one_thing_fills_one_slot(pictures, tmp_path):
    git(tmp_path / "m")
    wide = said(tmp_path / "m", "git-base-coco", pictures, SLOTS[:1], tmp_path / "c").wide()
    assert all(word in WORDS for c in wide["ObjectSnap"] for word in c.split())
    assert wide["ObjectSnap"].ne("").any()
    with pytest.raises(PhospheneError, match="choose one slot"):
        said(tmp_path / "m", "git-base-coco", pictures, TWO, tmp_path / "d")


def test_pixels_are_divided_twice_where_the_release_of_synapse_does(pictures, tmp_path, monkeypatch):
    blip2(tmp_path / "m")
    seen, arguments = {}, {"model": "blip2-flan-t5-xl", "folder": str(tmp_path / "m"), "beams": 3}
    for rescale in ("once", "twice"):
        captioner = build("captioner", "vision_language", **arguments, rescale=rescale)
        model, _ = captioner._loaded
        generate = model.generate

        def watched(pixel_values, generate=generate, rescale=rescale, **more):
            seen[rescale] = pixel_values
            assert more["num_beams"] == 3
            return generate(pixel_values=pixel_values, **more)

        monkeypatch.setattr(model, "generate", watched)
        said = write(captioner, pictures, tmp_path / rescale, SLOTS[:1]).wide()["ObjectSnap"]
        assert all(caption and set(caption.split()) <= set(WORDS) for caption in said)
        assert captioner.identity().endswith(" beams=3" + " rescale=twice" * (rescale == "twice"))
    black, white = -1.7923, -1.4649  # of CLIP's mean and deviation, over all channels, at 0 and at 1/255
    assert seen["twice"].min() >= black - 1e-3
    assert seen["twice"].max() <= white + 1e-3
    mean, deviation = torch.tensor(MEAN)[:, None, None], torch.tensor(DEVIATION)[:, None, None]
    back = {key: values * deviation + mean for key, values in seen.items()}
    assert torch.allclose(255 * back["twice"], back["once"], atol=5e-3)


def test_offline_the_error_names_the_fix(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(PhospheneError, match=r"hf download HuggingFaceTB/SmolVLM-500M-Instruct"):
        write(build("captioner", "vision_language"), pictures, tmp_path / "c", TWO)
    (tmp_path / "empty").mkdir()
    with pytest.raises(PhospheneError, match="look at the folder"):
        said(tmp_path / "empty", "blip-base", pictures, SLOTS[:1], tmp_path / "d")
    assert not (tmp_path / "c").exists()  # nothing was said, so that another model may say it there
    assert not (tmp_path / "d").exists()
    with pytest.raises(PhospheneError, match="is not a folder"):
        said(tmp_path / "none", "blip-base", pictures, SLOTS[:1], tmp_path / "d")
    with pytest.raises(PhospheneError, match="did you mean 'blip-base'"):
        build("captioner", "vision_language", model="blipbase")
    with pytest.raises(PhospheneError, match="rescale: Input should be 'once' or 'twice'"):
        build("captioner", "vision_language", rescale="never")
    with pytest.raises(PhospheneError, match="beams: Input should be greater than 0"):
        build("captioner", "vision_language", beams=0)


@pytest.mark.parametrize("row", MODELS.values(), ids=lambda row: row.name)
def test_every_row_says_where_it_comes_from(row):
    assert row.repo.count("/") == 1
    assert row.licence
    assert build("captioner", "vision_language", model=row.name).identity().endswith(f"{row.repo}@{row.revision}")
