"""Networks of torchvision, lpips and torch-fidelity, built at random from their own code: no weights are downloaded."""

from urllib.error import URLError

import numpy as np
import pytest
import torch
from beside_cpu_torch import prepare

prepare()
torchvision = pytest.importorskip("torchvision")
pytest.importorskip("lpips")
pytest.importorskip("torch_fidelity")

from torchvision.models.feature_extraction import create_feature_extractor  # noqa: E402
from torchvision.transforms import InterpolationMode, v2  # noqa: E402

from phosphene.errors import PhospheneError  # noqa: E402
from phosphene.evaluation.metrics import inception, judge, networks, perceptual, pictures  # noqa: E402
from phosphene.evaluation.metrics.distributions import frechet  # noqa: E402
from phosphene.evaluation.metrics.presets import preset  # noqa: E402


def some(n, side=64, seed=0):
    """Smooth pictures, so that resizing matters."""
    small = np.random.default_rng(seed).random((n, 3, 8, 8)).astype(np.float32)
    return torch.nn.functional.interpolate(torch.from_numpy(small), (side, side), mode="bicubic").clamp(0, 1)


def built(name):
    row = networks.NETWORKS[name]
    torch.manual_seed(0)
    extra = {"init_weights": True, "transform_input": True} if row.model == "inception_v3" else {}
    return torchvision.models.get_model(row.model, weights=None, **extra).eval()


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_features_are_those_of_torchvisions_own_pipeline(name):
    row, model, shown = networks.NETWORKS[name], built(name), some(3, 300)
    steps = [v2.Resize([side, side], InterpolationMode.BILINEAR, antialias=True) for side in (256, row.side)]
    steps.append(v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.inference_mode():
        wanted = create_feature_extractor(model, [row.layer])(v2.Compose(steps)(shown))[row.layer].flatten(1).numpy()
    ours = networks.features(name, shown, model=model, batch_size=2)
    assert ours.shape == wanted.shape
    np.testing.assert_allclose(ours, wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_weights_exist_by_the_name_given(name):
    row = networks.NETWORKS[name]
    if not row.weights.startswith("https:"):
        assert row.weights in torchvision.models.get_model_weights(row.model).__members__
        assert torchvision.models.get_model_weights(row.model)[row.weights].url.startswith("https:")


def test_resize_is_torchvisions():
    for side in (40, 256, 425):
        wanted = v2.Resize([side, side], InterpolationMode.BILINEAR, antialias=True)(some(2, 300))
        torch.testing.assert_close(pictures.resize(some(2, 300), side), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["alexnet2_2way", "swav_distance"])
def test_weights_out_of_reach_are_one_line(name, monkeypatch):
    def unreachable(*_, **__):
        raise URLError("no route")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", unreachable)
    for module in ("torchvision.models._api", "torchvision._internally_replaced_utils"):
        import importlib

        found = importlib.import_module(module)
        if hasattr(found, "load_state_dict_from_url"):
            monkeypatch.setattr(found, "load_state_dict_from_url", unreachable)
    with pytest.raises(PhospheneError, match="run once with a connection, or pass model="):
        networks.load(name)


def test_swav_weights_are_read_without_their_prefix(monkeypatch):
    torch.manual_seed(1)
    state = torchvision.models.resnet50(weights=None).state_dict()
    shipped = {f"module.{k}": v for k, v in state.items() if not k.startswith("fc")}
    shipped["module.prototypes.weight"] = torch.zeros(2, 2)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: shipped)
    model = networks.load("swav_distance")
    assert torch.equal(model.conv1.weight, state["conv1.weight"])
    del shipped["module.layer1.0.conv1.weight"]
    with pytest.raises(PhospheneError, match=r"lack layer1\.0\.conv1\.weight"):
        networks.load("swav_distance")


def random_lpips():
    import lpips

    torch.manual_seed(0)
    return lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()


def test_lpips_tables_hold_the_packages_own_pairs():
    model, drawn, real = random_lpips(), some(4), some(3, seed=1)
    table = perceptual.lpips_distance(drawn, real, model=model, side=64, batch_size=5)
    with torch.inference_mode():
        for i in range(4):
            for j in range(3):
                wanted = float(model(drawn[i : i + 1], real[j : j + 1], normalize=True))
                assert table[i, j] == pytest.approx(wanted, rel=1e-5)
        raw = float(model(drawn[:1], real[:1]))
    assert preset("as-in-synapse").measures["lpips_alex"](drawn[:1], real[:1], model, side=64)[0] == pytest.approx(raw)
    np.testing.assert_allclose(perceptual.lpips_distance(real, real, np.arange(3), model=model, side=64), 0, atol=1e-7)


def random_inception(feature, tmp_path):
    """torch-fidelity's network with weights drawn here and read from a file."""
    from torch_fidelity import feature_extractor_inceptionv3 as module

    path = tmp_path / "weights.pth"
    if not path.exists():
        kept: dict = {}
        plain = module.FeatureExtractorInceptionV3.load_state_dict
        module.FeatureExtractorInceptionV3.load_state_dict = lambda self, _: kept.update(self.state_dict())
        torch.manual_seed(0)
        torch.save({}, path)
        try:
            inception.load_fidelity(feature, path)
        finally:
            module.FeatureExtractorInceptionV3.load_state_dict = plain
        torch.save(kept, path)
    return inception.load_fidelity(feature, path)


def test_fid_of_pictures_is_torchmetrics_and_torch_fidelitys(tmp_path):
    from torchmetrics.image.fid import FrechetInceptionDistance

    model = random_inception("2048", tmp_path)
    drawn, real = some(12), some(10, seed=1)
    ours = [inception.fidelity_features(p, model=model) for p in (drawn, real)]
    assert ours[0].shape == (12, 2048)
    whole = [(p * 255).round().to(torch.uint8) for p in (drawn, real)]
    np.testing.assert_allclose(ours[0], model(whole[0])[0].numpy(), rtol=1e-3, atol=1e-6)

    class Features(torch.nn.Module):
        num_features = 2048

        def forward(self, shown):
            return model(shown)[0]

    fid = FrechetInceptionDistance(feature=Features(), normalize=False, input_img_size=(3, 64, 64)).set_dtype(
        torch.float64
    )
    fid.update(whole[1], real=True)
    fid.update(whole[0], real=False)
    assert frechet(*ours) == pytest.approx(float(fid.compute()), rel=1e-3, abs=1e-6)
    for feature, size in (("logits_unbiased", 1008), ("64", 64)):
        other = random_inception(feature, tmp_path)
        assert inception.fidelity_features(drawn[:2], feature, model=other).shape == (2, size)


def test_pictures_of_several_sizes_go_in_as_they_are(tmp_path):
    model = random_inception("2048", tmp_path)
    mixed = [p[0].permute(1, 2, 0).numpy() for p in (some(1, 48), some(1, 80, 1))]
    ours = inception.fidelity_features(mixed, model=model)
    alone = [
        model((torch.from_numpy(p).permute(2, 0, 1)[None] * 255).round().to(torch.uint8))[0].numpy()[0] for p in mixed
    ]
    np.testing.assert_allclose(ours, alone, rtol=1e-5)


def test_missing_weights_of_inception_are_one_line(tmp_path):
    with pytest.raises(PhospheneError, match="run once with a connection, or pass weights="):
        inception.load_fidelity("2048", tmp_path / "none.pth")


def test_torchvisions_inception_is_read_with_and_without_normalisation():
    model, shown = built("inception_2way"), some(2, 299)
    plain = inception.torchvision_features(shown, model=model)
    with torch.inference_mode():
        wanted = create_feature_extractor(model, ["avgpool"])(shown)["avgpool"].flatten(1).numpy()
        logits = model(shown).numpy()
    np.testing.assert_allclose(plain, wanted, rtol=1e-3, atol=1e-5)
    ours = inception.torchvision_features(shown, logits=True, model=model)
    np.testing.assert_allclose(ours, logits, rtol=1e-3, atol=1e-5)
    assert np.abs(inception.torchvision_features(shown, normalised=True, model=model) - plain).max() > 1e-4


def test_the_judge_is_the_published_vit():
    """Built without memory from its configuration: as many parameters as the published weights, and their resizing."""
    row = judge.JUDGES["vit-h14"]
    weights = torchvision.models.get_model_weights(row.model)[row.weights]
    with torch.device("meta"):
        model = torchvision.models.get_model(row.model, weights=None, image_size=row.side).eval()
        answers = model(torch.empty(2, 3, row.side, row.side))
    assert tuple(answers.shape) == (2, row.n_classes) == (2, len(weights.meta["categories"]))
    assert sum(p.numel() for p in model.parameters()) == weights.meta["num_params"] == 633_470_440
    assert weights.url.startswith("https:")
    steps = weights.transforms()
    assert (steps.crop_size, steps.resize_size, steps.interpolation) == ([518], [518], InterpolationMode.BICUBIC)
    assert (tuple(steps.mean), tuple(steps.std)) == networks.IMAGENET


@pytest.mark.parametrize("size", [(64, 64), (300, 417), (700, 530)])
def test_the_judge_sees_what_torchvisions_own_transform_gives(size):
    from PIL import Image

    class Seen(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1)

    shown = torch.nn.functional.interpolate(some(1), size, mode="bicubic").clamp(0, 1)
    whole = (shown[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    row = judge.JUDGES["vit-h14"]
    steps = torchvision.models.get_model_weights(row.model)[row.weights].transforms()
    wanted = steps(Image.fromarray(whole)).flatten().numpy()
    ours = judge.judged([Image.fromarray(whole)], model=Seen())[0]
    level = 1 / 255 / 0.225
    np.testing.assert_allclose(ours, wanted, rtol=0, atol=3 * level)  # PIL rounds to 8 bits after each pass
    assert np.abs(ours - wanted).mean() < 0.5 * level


def test_classes_have_torchvisions_places():
    weights = torchvision.models.get_model_weights("vit_h_14")[judge.JUDGES["vit-h14"].weights]
    names = weights.meta["categories"]
    found = [names[i] for i in judge.places(["n02106662", "n02690373", "n03452741", "n07753592", "n13054560"])]
    assert found == ["German shepherd", "airliner", "grand piano", "banana", "bolete"]


def test_weights_of_the_judge_out_of_reach_are_one_line(monkeypatch):
    def unreachable(*_, **__):
        raise URLError("no route")

    row = judge.JUDGES["vit-h14"]
    monkeypatch.setattr(torchvision.models, "get_model", unreachable)
    with pytest.raises(PhospheneError, match=f"{row.model}.*run once with a connection, or pass model="):
        judge.load_judge()
