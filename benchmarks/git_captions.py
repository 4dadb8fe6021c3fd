"""How far captions drift when a captioner's visual tokens are predicted from an image embedding.

    python benchmarks/git_captions.py --seeds 0 1 2

No released captioner is at hand, so a small one of the same class is trained first: GIT with the vision tower of
`mini`, frozen, and two text layers, on captions of drawn scenes of twelve objects. Then its tokens are predicted from
`mini`'s image embedding, by the published adapter and by ridge regression in closed form, both learned on the scenes
that the captioner was trained on. Captions of held-out scenes are compared with those that it writes from the true
tokens (`against` "true tokens"), and with what was drawn ("scene"). "decoded" embeddings are the true ones blended with
those of other pictures, so that they correlate at 0.7 with the true ones and vary as these do: what a decoder and a
prior might give. `mse` is the error of the tokens as a share of that of the mean tokens. A seed takes about a minute
of one core.
"""

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pandas as pd
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import GitConfig, GitForCausalLM, PreTrainedTokenizerFast

from phosphene.backbones.table import load_clip
from phosphene.captions.git import TokenCaptioner, drift
from phosphene.networks.caption_adapter import RidgeTokens, VisualTokens
from phosphene.simulate.scenes import SEEN, Scene, draw, sample_scenes
from phosphene.targets.clip import CLIPImage, CLIPText

MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def caption(scene: Scene) -> str:
    """Object, colour, side and place."""
    return scene.prompt.rsplit(",", 1)[0].replace(",", "")


def captioner(captions: list[str]) -> TokenCaptioner:
    """GIT of random text layers behind the vision tower of `mini`."""
    clip, processor, _ = load_clip("mini")
    known = [*MARKS, *sorted({word for text in captions for word in text.split()})]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(known)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", bos_token="[CLS]", eos_token="[SEP]"
    )
    config = GitConfig(
        vision_config=clip.config.vision_config.to_dict(),
        vocab_size=len(known),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
    )
    model = GitForCausalLM(config)
    model.git.image_encoder.vision_model.load_state_dict(clip.vision_model.state_dict())
    model.git.image_encoder.eval().requires_grad_(False)
    return TokenCaptioner(model, processor, tokenizer, batch_size=50)


def train(writer: TokenCaptioner, tokens: Tensor, captions: list[str], epochs: int, seed: int) -> None:
    """Next words of the captions, by the model's own loss; cosine learning rate from 3e-3."""
    ids = writer.tokenizer([f"[CLS] {text} [SEP]" for text in captions], padding=True, return_tensors="pt")
    rows, mask = ids["input_ids"], ids["attention_mask"]
    labels = rows.masked_fill(mask == 0, -100)
    parameters = [p for p in writer.model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=epochs * -(-len(rows) // 32))
    order = torch.Generator().manual_seed(seed)
    writer.model.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(rows), generator=order).split(32):
            loss = writer.model(
                input_ids=rows[batch],
                attention_mask=mask[batch],
                pixel_values=tokens[batch][:, None],
                labels=labels[batch],
            ).loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    writer.model.eval()


def decoded(embeds: Tensor, known: Tensor, seed: int, correlation: float = 0.7) -> Tensor:
    """Embeddings with errors that vary as ``known`` ones do."""
    order = torch.Generator().manual_seed(seed)
    mix = torch.randn(len(embeds), len(known), generator=order) / len(known) ** 0.5
    mean = known.mean(0)
    return mean + correlation * (embeds - mean) + (1 - correlation**2) ** 0.5 * (mix @ (known - mean))


def experiment(seed: int, given: argparse.Namespace) -> pd.DataFrame:
    torch.manual_seed(seed)
    objects = SEEN[::4][:12]
    scenes = sample_scenes(given.n_train, seed=seed, held_out=False, objects=objects, plain=True)
    test = sample_scenes(given.n_test, seed=seed + 1000, held_out=True, objects=objects, plain=True)
    clip, reader = CLIPImage("mini"), CLIPText(backbone="mini")
    drawn, shown = [draw(s) for s in scenes], [draw(s) for s in test]
    captions, scene = [caption(s) for s in scenes], [caption(s) for s in test]
    writer = captioner(captions)
    tokens, truth = writer.tokens(drawn), writer.tokens(shown)
    embeds, seen = clip.images(drawn), clip.images(shown)
    train(writer, tokens, captions, given.epochs, seed)
    n, dim = writer.shape
    priors: dict[str, torch.nn.Module] = {
        f"adapter, {epochs} epochs": VisualTokens(embeds.shape[1], n, dim).fit(embeds, tokens, epochs=epochs, seed=seed)
        for epochs in given.adapter_epochs
    }
    priors["ridge"] = RidgeTokens(embeds.shape[1], n, dim).fit(embeds, tokens)
    mean = tokens.mean(0).expand(len(test), -1, -1)
    states = {("true tokens", ""): truth, ("mean tokens", ""): mean}
    for name, prior in priors.items():
        with torch.no_grad():
            states[name, "true"] = prior(seen)
            states[name, "decoded"] = prior(decoded(seen, embeds, seed))
    own, rows = writer.say(truth), []
    for (name, embedding), state in states.items():
        said = writer.say(state)
        print(f"{name} {embedding}: {said[:2]}")
        mse = float(F.mse_loss(state, truth) / F.mse_loss(mean, truth))
        for against, true in (("true tokens", own), ("scene", scene)):
            table = drift(said, true, reader.texts)
            row = {"against": against, "tokens": name, "embedding": embedding, "mse": mse}
            row |= {key: line["value"] for key, line in table.iterrows()}
            rows.append(row | {f"{key} chance": line["chance"] for key, line in table.iterrows()})
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--n-train", type=int, default=600)
    parser.add_argument("--n-test", type=int, default=150)
    parser.add_argument("--epochs", type=int, default=12, help="of the captioner")
    parser.add_argument("--adapter-epochs", type=int, nargs="+", default=[30, 150])
    given = parser.parse_args()
    torch.set_num_threads(1)
    parts = []
    for seed in given.seeds:
        start = time.process_time()
        parts.append(experiment(seed, given))
        print(f"seed {seed}: {time.process_time() - start:.0f} s of processor time", flush=True)
    table = pd.concat(parts).groupby(["against", "tokens", "embedding"], sort=False)
    mean, low, high = (x.map("{:.2f}".format) for x in (table.mean(), table.min(), table.max()))
    print((mean + " (" + low + " to " + high + ")").to_csv(sep="|"))


if __name__ == "__main__":
    main()
