"""From the published EEG embeddings of THINGS-EEG2's subject 8 to scores, priors and pictures.

    python examples/atm_published.py EMBEDDINGS out/ --prior ridge --backbone sdxl-turbo

EMBEDDINGS holds, as published with ATM (arXiv 2403.07721), `atm/ATM_S_eeg_features_sub-08_test.pt`,
`atm/ViT-H-14_features_test.pt` and the same pictures' features with their norm,
`atm/ViT-H-14_img_features_test_unnormalised.pt`; and `test_concepts.tsv`, a line for each of the 200 test pictures.

A prior learns from pairs, and these 200 are all there are. So it is fitted four times, on 150 pairs each: every picture
is drawn by a prior that never saw it. That is no figure of ATM, whose prior learns from 16,540 training pictures.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene import Conditioning, build
from phosphene.evaluation import retrieval
from phosphene.evaluation.scores import Question, picture_retrieval
from phosphene.generators.diffusion import Diffusion
from phosphene.utils.restricted import read_torch


def scores(decoded: Tensor, gallery: Tensor, concepts: np.ndarray) -> pd.DataFrame:
    """Three scores with interval and chance, beside the mean of 20 deals of the embeddings to other pictures."""

    def asked(queries: Tensor) -> dict[str, Question]:
        own = np.arange(len(queries))
        found = picture_retrieval(queries.numpy(), gallery.numpy(), own, concepts, "clip-vit-h14")
        return {q.metric: q for q in found if q.metric in ("image_top1", "image_top5", "image_top1_of_2")}

    dealer = torch.Generator().manual_seed(0)
    deals = [asked(decoded[torch.randperm(len(decoded), generator=dealer)]) for _ in range(20)]
    rows = [q.answer() | {"shuffled": np.mean([deal[m].value for deal in deals])} for m, q in asked(decoded).items()]
    return pd.DataFrame(rows)[["metric", "value", "ci_low", "ci_high", "chance", "shuffled", "p"]]


def fitted(name: str, eeg: Tensor, image: Tensor, updates: int, seed: int) -> torch.nn.Module:
    """A prior from EEG embeddings (n, 1024) to picture embeddings (n, 1024)."""
    torch.manual_seed(seed)
    prior = build("prior", name, n_inputs=eeg.shape[1], n_outputs=image.shape[1])
    if name == "ridge":
        return prior.fit(eeg, image)
    prior.observe(image, eeg)
    optimiser = torch.optim.AdamW(prior.parameters(), lr=1e-3, weight_decay=0.0)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, updates)
    for _ in range(updates):
        loss = prior.loss(eeg, image)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rate.step()
    return prior.eval()


def held_out(name: str, eeg: Tensor, image: Tensor, updates: int, seed: int) -> tuple[Tensor, list[Tensor]]:
    """Each row's embedding by a prior that did not see it, and the rows that were held out together."""
    folds = list(torch.randperm(len(eeg), generator=torch.Generator().manual_seed(seed)).chunk(4))
    decoded = torch.empty_like(image)
    for fold in folds:
        rest = torch.ones(len(eeg), dtype=torch.bool)
        rest[fold] = False
        prior = fitted(name, eeg[rest], image[rest], updates, seed)
        decoded[fold] = prior(eeg[fold]).detach()
    return decoded, folds


def nearness(decoded: Tensor, image: Tensor, folds: list[Tensor]) -> dict[str, float]:
    """How near decoded embeddings are to the true ones; also about the means, since all pictures share much."""

    def top1(rows: Tensor) -> float:
        r = retrieval.ranks(retrieval.cosine(decoded[rows].numpy(), image[rows].numpy()))
        return float(retrieval.top_k(r.of(np.arange(len(rows))), 1).mean())

    centred = decoded - decoded.mean(0), image - image.mean(0)
    return {
        "cosine": float(F.cosine_similarity(decoded, image).mean()),
        "cosine about the mean": float(F.cosine_similarity(*centred).mean()),
        "length": float(decoded.norm(dim=1).mean() / image.norm(dim=1).mean()),
        "top-1 of 200": top1(torch.arange(len(image))),
        "top-1 of 50 held out": float(np.mean([top1(fold) for fold in folds])),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("embeddings", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--prior", choices=["ridge", "diffusion"], default="ridge")
    parser.add_argument("--updates", type=int, default=300, help="of the diffusion prior, each on all its pairs")
    parser.add_argument("--backbone", default="sdxl-turbo", help="draws; its adapter reads clip-vit-h14")
    parser.add_argument("--size", type=int, help="side of a picture, pixels")
    parser.add_argument("--pictures", type=int, default=200, help="how many are drawn; 0 for none")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)

    published = given.embeddings / "atm"
    eeg = torch.tensor(read_torch(published / "ATM_S_eeg_features_sub-08_test.pt"), dtype=torch.float32)
    unit = torch.tensor(read_torch(published / "ViT-H-14_features_test.pt")["img_features"], dtype=torch.float32)
    image = torch.tensor(read_torch(published / "ViT-H-14_img_features_test_unnormalised.pt"), dtype=torch.float32)
    concepts = pd.read_csv(given.embeddings / "test_concepts.tsv", sep="\t")["concept"].to_numpy(str)
    given.out.mkdir(parents=True, exist_ok=True)

    table = scores(eeg, unit, concepts)
    table.to_csv(given.out / "scores.csv", index=False)
    print(table.to_string(index=False, float_format="%.3f"))

    decoded, folds = held_out(given.prior, eeg, image, given.updates, given.seed)
    rows = {"before the prior": nearness(eeg, image, folds), given.prior: nearness(decoded, image, folds)}
    compared = pd.DataFrame.from_dict(rows, orient="index")
    compared.to_csv(given.out / f"prior_{given.prior}.csv")
    print(compared.to_string(float_format="%.3f"))

    if given.pictures:
        draw = Diffusion(given.backbone, size=given.size)
        drawn = draw(Conditioning(image_embeds=decoded[: given.pictures]), seed=given.seed)
        for number, (concept, (picture,)) in enumerate(zip(concepts, drawn, strict=False), start=1):
            picture.save(given.out / f"{number:03d}_{concept}.png")
        print(f"{len(drawn)} pictures in {given.out}")


if __name__ == "__main__":
    main()
