"""Our own few lines against torch-fidelity, torchmetrics, scikit-image, nltk and rouge-score, run here and now."""

import json

import numpy as np
import pytest
import torch
from beside_cpu_torch import prepare

from conftest import GOLDEN
from golden.fill import inputs
from phosphene.errors import PhospheneError
from phosphene.evaluation.metrics import captions, distributions, pictures, pixels
from phosphene.evaluation.metrics.cider import cider_d

prepare()
pytest.importorskip("skimage")
pytest.importorskip("torchvision")
pytest.importorskip("torch_fidelity")


def test_the_golden_sets_are_still_torch_fidelitys():
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric

    facts = json.loads((GOLDEN / "metrics_sets.json").read_text())
    raw = {k: inputs(v["shape"], v["seed"]) for k, v in facts["inputs"].items()}
    x, y = (torch.from_numpy(v) for v in (raw["x"], np.float32(1.1) * raw["y"] + np.float32(0.1)))
    values = facts["values"]
    fid = fid_statistics_to_metric(fid_features_to_statistics(x), fid_features_to_statistics(y), False)
    assert fid["frechet_inception_distance"] == pytest.approx(values["fid"], rel=1e-6)
    kid = kid_features_to_metric(x, y, kid_subsets=20, kid_subset_size=100, verbose=False)
    assert kid["kernel_inception_distance_mean"] == pytest.approx(values["kid_mean"], rel=1e-5)
    isc = isc_features_to_metric(torch.from_numpy(np.float32(3) * raw["logits"]))
    assert isc["inception_score_mean"] == pytest.approx(values["is_mean"], rel=1e-9)


def test_frechet_of_few_pictures_is_near_torch_fidelitys():
    """Where covariances are singular, their matrix root is a limit; ours is exact."""
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 64)), rng.standard_normal((30, 64)) + 0.3
    statistics = [fid_features_to_statistics(torch.from_numpy(v)) for v in (x, y)]
    theirs = fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"]
    assert distributions.frechet(x, y) == pytest.approx(theirs, rel=1e-3)


def test_kid_is_torchmetrics():
    from torchmetrics.image.kid import poly_kernel, poly_mmd

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((25, 16)), rng.standard_normal((25, 16)) + 0.2
    a, b = torch.from_numpy(x), torch.from_numpy(y)
    np.testing.assert_allclose(distributions.polynomial(x, y), poly_kernel(a, b).numpy())
    assert distributions.mmd2(x, y) == pytest.approx(float(poly_mmd(a, b)))


@pytest.mark.parametrize("seed", range(3))
def test_ssim_is_scikit_images(seed):
    from skimage.color import rgb2gray
    from skimage.metrics import structural_similarity

    rng = np.random.default_rng(seed)
    drawn, real = (np.clip(rng.random((1, 3, 60, 60)), 0, 1) for _ in range(2))
    large = [pixels.enlarged(pictures.pixels(p, 256)).double()[0].permute(1, 2, 0).numpy() for p in (drawn, real)]
    grey = [rgb2gray(p) for p in large]
    how = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    assert pixels.ssim(drawn, real)[0, 0] == pytest.approx(structural_similarity(*grey, **how), abs=1e-6)
    columns = np.mean([structural_similarity(grey[0][:, c], grey[1][:, c], **how) for c in range(425)])
    assert pixels.ssim(drawn, real, columns=True)[0, 0] == pytest.approx(columns, abs=1e-6)


SAID = ["A red car on the beach.", "a dog", "", "the cat sat on the mat by the door today"]
TRUE = ["a red car by the sea", "a small dog in the snow", "a cat sat on a mat by the red door today"]


@pytest.mark.parametrize("order", [1, 4])
def test_bleu_is_nltks_on_words(order):
    score = pytest.importorskip("nltk.translate.bleu_score")
    table = captions.bleu(SAID, TRUE, order)
    assert table.shape == (4, 3)
    assert table[2].max() == 0
    words = captions.words(SAID[0]), captions.words(TRUE[0])
    smooth = score.SmoothingFunction().method1
    wanted = score.sentence_bleu([words[1]], words[0], (1 / order,) * order, smoothing_function=smooth)
    assert table[0, 0] == pytest.approx(wanted)
    assert captions.bleu(TRUE, TRUE, order).diagonal().min() == pytest.approx(1)
    if order == 1:
        assert table[0, 0] == pytest.approx(4 / 6)  # a, red, car, the
        assert table[1, 1] == pytest.approx(np.exp(1 - 6 / 2))
    with pytest.raises(PhospheneError, match="order is 1 to 4"):
        captions.bleu(SAID, TRUE, 5)


def test_corpus_bleu_is_nltks():
    score = pytest.importorskip("nltk.translate.bleu_score")
    said, true = [SAID[0], SAID[1], SAID[3]], TRUE
    wanted = score.corpus_bleu([[captions.words(t)] for t in true], [captions.words(s) for s in said])
    assert captions.corpus_bleu(said, true) == pytest.approx(wanted)
    assert captions.corpus_bleu(true, true) == pytest.approx(1)
    with pytest.raises(PhospheneError, match="give one for each"):
        captions.corpus_bleu(said, true[:2])


def test_rouge_l_is_torchmetrics_and_the_definition():
    pytest.importorskip("rouge_score")
    from torchmetrics.functional.text.rouge import _rouge_l_score

    table = captions.rouge_l(SAID, TRUE)
    assert table[0, 0] == pytest.approx(2 * 4 / 12)  # a red car the
    assert table[1, 1] == pytest.approx(2 * 2 / 8)
    assert table[2].max() == 0
    for i in (0, 1, 3):
        for j in range(3):
            theirs = _rouge_l_score(captions.words(SAID[i]), captions.words(TRUE[j]))["fmeasure"]
            assert table[i, j] == pytest.approx(float(theirs))


def test_meteor_asks_for_wordnet_and_takes_a_given_one(monkeypatch):
    pytest.importorskip("nltk")
    import nltk

    monkeypatch.setattr(nltk.data, "path", [])
    with pytest.raises(PhospheneError, match="python -m nltk.downloader wordnet"):
        captions.meteor(["a dog"], ["a cat"])

    class NoSynonyms:
        def synsets(self, word):
            return []

    table = captions.meteor(["a red dog runs"], ["a red dog runs", "a blue dog ran"], wordnet=NoSynonyms())
    assert table[0, 0] == pytest.approx(1 - 0.5 * (1 / 4) ** 3)  # all match in one chunk
    assert table[0, 1] == pytest.approx(0.5 * (1 - 0.5 * (2 / 2) ** 3))  # a, dog: two chunks of two matches


@pytest.mark.parametrize("seed", range(3))
def test_cider_d_is_the_coco_codes(seed):
    """Captions of chance words, several true ones for some pictures, one of them empty of n-grams."""
    coco = pytest.importorskip("pycocoevalcap.cider.cider")
    rng = np.random.default_rng(seed)
    listed = ["a", "the", "red", "dog", "cat", "runs", "on", "grass", "car", "near", "tree", "blue"]

    def caption():
        return " ".join(rng.choice(listed, rng.integers(1, 12)))

    true = [[caption() for _ in range(rng.integers(1, 4))] for _ in range(30)]
    said = [*(caption() for _ in range(27)), true[27][0], "unheard of words", "dog"]
    mean, each = coco.Cider().compute_score(dict(enumerate(true)), {i: [s] for i, s in enumerate(said)})
    ours = cider_d(said, true).diagonal()
    np.testing.assert_allclose(ours, each, rtol=1e-9, atol=1e-12)
    assert ours.mean() == pytest.approx(mean)
    assert ours.max() > 1
