import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from conftest import golden
from golden.fill import inputs
from phosphene.errors import PhospheneError
from phosphene.evaluation.metrics import pictures, pixels

CASES = {
    "size256": (True, "256", 8, 8, "N2_256"),
    "size500_512_antialias_true": (True, "500", 125, 128, "N2_512"),
    "size500_512_antialias_false": (False, "500", 125, 128, "N2_512"),
}


def published(case):
    """Real and drawn pictures of the golden case, (n, 3, height, width) float32."""
    facts, arrays = golden("metrics_pixels")
    _, size, gt, rec, noise = CASES[case]
    raw = {k: inputs(v["shape"], v["seed"]) for k, v in facts["inputs"].items() if k.endswith(size) or k == noise}

    def up(name, k):
        return raw[f"{name}_{size}"].repeat(k, axis=2).repeat(k, axis=3)

    f = np.float32
    real = np.clip(f(0.5) + f(0.25) * up("B", gt) + f(0.05) * raw[f"N1_{size}"], 0, 1)
    drawn = np.clip(f(0.5) + f(0.2) * up("B", rec) + f(0.1) * up("B2", rec) + f(0.05) * raw[noise], 0, 1)
    return real, drawn, arrays


@pytest.mark.parametrize("case", CASES)
def test_parity_with_the_published_pixel_metrics(case):
    real, drawn, arrays = published(case)
    own, antialias = np.arange(len(real)), CASES[case][0]
    ours = {
        "pixcorr": pixels.pixcorr(drawn, real, own, antialias=antialias),
        "ssim_2d": pixels.ssim(drawn, real, own, antialias=antialias),
        "ssim_columns_1d": pixels.ssim(drawn, real, own, antialias=antialias, columns=True),
    }
    for name, values in ours.items():
        np.testing.assert_allclose(values, arrays[f"{case}_{name}"], rtol=0, atol=1e-6, err_msg=name)


def test_parity_of_the_resized_picture_and_its_grey():
    real, _, arrays = published("size256")
    large = pixels.enlarged(torch.from_numpy(real[:1]))
    flat, grey = large[0].flatten().numpy(), pixels.grey(large)[0].flatten().numpy()
    np.testing.assert_allclose(flat[::136], arrays["size256_gt0_resized425"], rtol=0, atol=2e-6)
    np.testing.assert_allclose(grey[::46], arrays["size256_gt0_gray425"], rtol=0, atol=2e-6)
    real, _, arrays = published("size500_512_antialias_true")
    for antialias in (True, False):
        small = pictures.resize(torch.from_numpy(real[:1]), 256, antialias)[0].flatten().numpy()
        wanted = arrays[f"gt0_500_to_256_antialias_{str(antialias).lower()}"]
        np.testing.assert_allclose(small[::50], wanted, rtol=0, atol=2e-6)


#: pictures are resized in single precision, which rounds elsewhere in another batch, by a few units of the last place
SINGLE = 8 * float(np.finfo(np.float32).eps)


def some(n, seed=0, side=24):
    return np.random.default_rng(seed).random((n, 3, side, side)).astype(np.float32)


@pytest.mark.parametrize("measure", [pixels.pixcorr, pixels.ssim], ids=["pixcorr", "ssim"])
def test_a_table_holds_the_pairs_and_follows_a_permutation(measure):
    drawn, real = some(19), some(18, 1)
    table = measure(drawn, real, side=40)
    truth = np.random.default_rng(2).integers(18, size=19)
    np.testing.assert_allclose(measure(drawn, real, truth, side=40), table[np.arange(19), truth], rtol=0, atol=SINGLE)
    order, other = np.random.default_rng(3).permutation(19), np.random.default_rng(4).permutation(18)
    np.testing.assert_allclose(
        measure(drawn[order], real[other], side=40), table[np.ix_(order, other)], rtol=0, atol=SINGLE
    )
    np.testing.assert_allclose(np.diag(measure(real, real, side=40)), 1)


@settings(max_examples=10)
@given(st.integers(0, 2**31))
def test_bounds_and_scipy(seed):
    drawn, real = some(2, seed), some(2, seed + 1)
    large = [pixels.enlarged(pictures.pixels(p, 256), 40).flatten(1).numpy() for p in (drawn, real)]
    for i in range(2):
        wanted = stats.pearsonr(large[0][i].astype(float), large[1][i].astype(float)).statistic
        assert pixels.pixcorr(drawn, real, side=40)[i, i] == pytest.approx(wanted, abs=SINGLE)
    for columns in (True, False):
        table = pixels.ssim(drawn, real, columns=columns, side=40)
        assert np.all(np.abs(table) <= 1)
        np.testing.assert_allclose(table.T, pixels.ssim(real, drawn, columns=columns, side=40), rtol=0, atol=SINGLE)


def test_known_answers():
    real = some(1)
    assert pixels.pixcorr(0.2 + 0.5 * real, real)[0, 0] == pytest.approx(1)
    assert pixels.pixcorr(1 - real, real)[0, 0] == pytest.approx(-1)
    assert pixels.pixcorr(np.full_like(real, 0.3), real)[0, 0] == pytest.approx(0, abs=1e-3)
    dark, light = np.full_like(real, 0.2), np.full_like(real, 0.8)
    wanted = (2 * 0.2 * 0.8 + 1e-4) / (0.2**2 + 0.8**2 + 1e-4)
    assert pixels.ssim(dark, light)[0, 0] == pytest.approx(wanted, abs=1e-6)


def test_pictures_of_every_kind_are_the_same_pictures():
    whole = (some(2) * 255).astype(np.uint8)
    as_images = [Image.fromarray(p.transpose(1, 2, 0)) for p in whole]
    for given_ in (as_images, whole, torch.from_numpy(whole), [p.transpose(1, 2, 0) for p in whole], whole / 255):
        np.testing.assert_allclose(pictures.pixels(given_, 24), whole / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        (some(1) * 255, "divide by 255"),
        (some(1) - 0.5, "others 0 to 1"),
        (some(1) * np.nan, "others 0 to 1"),
        (np.full((1, 3, 8, 8), 300), "whole numbers must be 0 to 255"),
        (some(1)[:, :1], "move the colours first"),
        ([np.zeros((8, 8))], "convert it to RGB"),
        ([], "draw some first"),
        (some(0), "draw some first"),
    ],
)
def test_bad_pictures_are_refused(given_, message):
    with pytest.raises(PhospheneError, match=message):
        pictures.pixels(given_, 24)


def test_bad_pairs_are_refused():
    with pytest.raises(PhospheneError, match="give one for each"):
        pixels.pixcorr(some(2), some(2), np.arange(3))
    with pytest.raises(PhospheneError, match="11 pixels wide"):
        pixels.ssim(some(1), some(1), side=10)


def test_folders_are_paired_by_name(tmp_path):
    for folder, names in (("drawn", ["b.png", "a.png", "c.png"]), ("real", ["c.jpg", "a.jpg", "b.jpg"])):
        (tmp_path / folder).mkdir()
        for name in names:
            Image.new("RGB", (4, 4)).save(tmp_path / folder / name)
    pairs = pictures.paired(tmp_path / "drawn", tmp_path / "real")
    assert [(a.name, b.name) for a, b in pairs] == [("a.png", "a.jpg"), ("b.png", "b.jpg"), ("c.png", "c.jpg")]
    (tmp_path / "real" / "b.jpg").unlink()
    with pytest.raises(PhospheneError, match="'b' has no partner in .*real"):
        pictures.paired(tmp_path / "drawn", tmp_path / "real")
    Image.new("RGB", (4, 4)).save(tmp_path / "drawn" / "a.jpg")
    with pytest.raises(PhospheneError, match="holds 'a' twice"):
        pictures.paired(tmp_path / "drawn", tmp_path / "real")
    with pytest.raises(PhospheneError, match="holds no pictures"):
        pictures.paired(tmp_path / "none", tmp_path / "real")
