"""Pictures that look the same though neither their files nor their pixels are: near-duplicates, and nothing else.

Perceptual hashes (`imagehash`) find candidates among all pairs; a comparison of pixels, aligned where one picture may
be cropped, decides. What is found: a picture that was compressed or quantised again, resized, made grey, brighter or
darker, cropped by a few pixels, or mirrored. What is not: other pictures of the same thing. A grating or a drawing in
two tones, shifted or mirrored, is another stimulus (left and right, b and d), and is found only where it stands as it
was. How often it errs is measured by `benchmarks/near_duplicates.py`.
"""

from collections.abc import Iterator, Sequence
from itertools import product

import imagehash
import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage
from scipy.spatial import cKDTree

SIDE = 64  # pixels of a thumbnail
HASH, HASH_SMALL = 10, 14  # of 64 bits that may differ in a candidate, and in one of small pictures
ALIKE = 0.8  # correlation of a candidate's 16 x 16 pixels
DETAIL = 0.965  # correlation of what is finer than 1/25 of the picture
LOCAL, LOCAL_ALIGNED = 0.5, 0.3  # largest local error, in SDs of the picture
COLOUR = 16  # largest local difference in colour, of 255
PLAIN = 2  # SD of a picture of one colour, of 255
PERIODIC, TWO_TONES = 16, 0.85  # below and above: a grating, a drawing in two tones
SMALL = 100  # pixels of the shorter side
NOISY = 0.25  # share of the variance in the finest detail, which resizing takes away, so that less must agree:
NOISY_DETAIL, NOISY_LOCAL = 0.85, 0.75

_TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]], np.float32).T
_WHOLE, _CENTRED = (0.0,) * 4, ((0.02,) * 4, (0.05,) * 4)
#: shares cut off left, right, top and bottom of which hashes are made; of small pictures many
_FEW = (_WHOLE, *_CENTRED)
_SIDES = ((0.0, 0.0), (0.045, 0.045), (0.085, 0.085), (0.08, 0.0), (0.0, 0.08))
_MANY = (*_FEW, *((*x, *y) for x, y in list(product(_SIDES, _SIDES))[1:]))
Box = tuple[float, float, float, float]
_BLOCK = 2048
_BATCH = 256


def thumbnail(picture: Image.Image) -> np.ndarray:
    """(64, 64, 3) uint8, whatever the picture's shape."""
    return np.asarray(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def near_duplicates(thumbnails: np.ndarray, sides: Sequence[int]) -> np.ndarray:
    """Pairs of pictures that look the same.

    Parameters
    ----------
    thumbnails : (n, 64, 64, 3) uint8, of `thumbnail`.
    sides : (n,) the shorter side of each picture, pixels: how much a crop of a few pixels is.

    Returns
    -------
    (n_pairs, 2) row numbers, the smaller one first.
    """
    looks = thumbnails.astype(np.float32).reshape(len(thumbnails), -1, 3).std(axis=1).max(axis=1, initial=0)
    plain = np.flatnonzero(looks < PLAIN)
    found = [plain[_same_colours(thumbnails[plain])]]
    rows = np.flatnonzero(looks >= PLAIN)
    if len(rows) > 1:
        found.append(rows[_same_looks(thumbnails[rows], np.asarray(sides)[rows])])
    pairs = np.concatenate(found)
    return np.unique(np.sort(pairs, axis=1), axis=0)


def _same_colours(plain: np.ndarray) -> np.ndarray:
    """Pictures of one colour each are the same if their colours are, but for rounding."""
    if len(plain) < 2:
        return np.empty((0, 2), int)
    return cKDTree(plain.mean(axis=(1, 2))).query_pairs(2.0, p=np.inf, output_type="ndarray")


def _same_looks(thumbnails: np.ndarray, sides: np.ndarray) -> np.ndarray:
    grey = np.stack([_ycc(t)[..., 0] for t in thumbnails])
    rich = np.array([_rich(y) for y in grey])
    pairs, boxes, flipped = _candidates(thumbnails, grey, sides, rich)
    same = np.zeros(len(pairs), bool)
    for i in range(0, len(pairs), _BATCH):
        (a, b), now = pairs[i : i + _BATCH].T, slice(i, i + _BATCH)
        x, y = _ycc(thumbnails[a]), thumbnails[b]
        y = _ycc(np.where(flipped[now, None, None, None], y[:, :, ::-1], y))
        same[now] = _alike(x, y, LOCAL)
        may = ~same[now] & rich[a] & rich[b]
        if may.any():
            box = _aligned(x[may, :, :, 0], y[may, :, :, 0], boxes[now][may])
            same[i + np.flatnonzero(may)] = _alike(_sampled(x[may], box), y[may], LOCAL_ALIGNED)
    return pairs[same]


def _ycc(thumbnails: np.ndarray) -> np.ndarray:
    """Luminance and two colour differences, without the finest noise."""
    blur = (0,) * (thumbnails.ndim - 3) + (0.7, 0.7, 0)
    return ndimage.gaussian_filter(thumbnails.astype(np.float32) @ _TO_YCC, blur, mode="nearest")


def _rich(grey: np.ndarray) -> bool:
    """Whether a picture has so much in it that its mirror image, or a part of it, can only be a copy.

    Gratings have few spatial frequencies (participation ratio of the gradients' power), symbols two tones.
    """
    power = np.sum([np.abs(np.fft.rfft2(g)) ** 2 for g in np.gradient(grey)], axis=0)
    tones = np.bincount((grey.clip(0, 255) / 8).astype(int).ravel(), minlength=33)
    first = int((tones[:-1] + tones[1:]).argmax())
    rest = tones.copy()
    rest[first : first + 2] = 0
    two = tones[first : first + 2].sum() + (rest[:-1] + rest[1:]).max()
    return bool(power.sum() ** 2 / max((power**2).sum(), 1e-9) > PERIODIC and two < TWO_TONES * grey.size)


# -- candidates --------------------------------------------------------------------------------------


def _candidates(
    thumbnails: np.ndarray, grey: np.ndarray, sides: np.ndarray, rich: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs (n, 2) whose hashes are near; the box (n, 4) of the first that the second may be, and whether mirrored."""
    images = [Image.fromarray(t).convert("L") for t in thumbnails]
    own = np.array([_hash(image) for image in images], np.uint64)
    mirrored = np.array([_hash(ImageOps.mirror(image)) for image in images], np.uint64)
    small = np.array([_resized(image, 16) for image in images])
    small_sides = sides < SMALL
    found = []
    for number, cut in enumerate(_MANY):
        whole, box = cut == _WHOLE, _box(cut)
        rows = np.flatnonzero(whole | (rich & ((cut in _FEW) | small_sides)))
        left, top, width, height = (SIDE * float(x) for x in box)
        corners = (left, top, left + width, top + height)
        parts = own if whole else np.array([_hash(images[i], corners) for i in rows], np.uint64)
        looks = small if whole else np.array([_resized(images[i], 16, corners) for i in rows])
        for flipped in (False, True):
            for i, j, bits in _near(parts, mirrored if flipped else own):
                a = rows[i]
                keep = a < j if whole else (a != j) & rich[j]
                keep &= (bits <= HASH) | small_sides[a]
                if flipped:
                    keep &= rich[a] & rich[j]
                i, j = i[keep], j[keep]
                r = _correlation(looks[i], small[j][:, :, ::-1] if flipped else small[j])
                i, j, r = i[r > ALIKE], j[r > ALIKE], r[r > ALIKE]
                found.append(np.stack([rows[i], j, np.full(len(i), number), np.full(len(i), flipped), r], axis=1))
    table = np.concatenate(found)
    table = table[np.argsort(-table[:, 4], kind="stable")]  # the best guess of each pair
    first = np.unique(np.sort(table[:, :2], axis=1), axis=0, return_index=True)[1]
    table = table[first]
    boxes = np.array([_box(cut) for cut in _MANY])[table[:, 2].astype(int)]
    return table[:, :2].astype(int), boxes, table[:, 3] > 0


def _box(cut: Sequence[float]) -> np.ndarray:
    """Left, top, width and height, in shares of the picture."""
    left, right, top, bottom = cut
    return np.array([left, top, 1 - left - right, 1 - top - bottom], np.float32)


def _hash(image: Image.Image, box: Box | None = None) -> int:
    part = image.resize((32, 32), Image.Resampling.LANCZOS, box=box)
    return int.from_bytes(np.packbits(imagehash.phash(part).hash).tobytes())


def _resized(image: Image.Image, side: int, box: Box | None = None) -> np.ndarray:
    return np.asarray(image.resize((side, side), Image.Resampling.BOX, box=box), np.float32)


def _near(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rows of hashes that differ in few bits, and in how many, block by block."""
    for i in range(0, len(a), _BLOCK):
        for j in range(0, len(b), _BLOCK):
            differing = np.bitwise_count(a[i : i + _BLOCK, None] ^ b[None, j : j + _BLOCK])
            rows, columns = np.nonzero(differing <= HASH_SMALL)
            if len(rows):
                yield rows + i, columns + j, differing[rows, columns]


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n,) of arrays (n, height, width)."""
    a, b = (x - x.mean(axis=(1, 2), keepdims=True) for x in (a, b))
    size = np.sqrt((a**2).sum(axis=(1, 2)) * (b**2).sum(axis=(1, 2)))
    return np.asarray((a * b).sum(axis=(1, 2)) / np.maximum(size, 1e-6))


# -- the decision ------------------------------------------------------------------------------------


def _alike(a: np.ndarray, b: np.ndarray, local: float) -> np.ndarray:
    """(n,) whether pictures (n, 64, 64, 3) are the same but for contrast, fine detail that one has lost, and noise."""
    fine = [_detail(x[..., 0], 1.3).var(axis=(1, 2)) / np.maximum(x[..., 0].var(axis=(1, 2)), 1e-6) for x in (a, b)]
    swap = (fine[0] < fine[1])[:, None, None, None]
    a, b = np.where(swap, b, a), np.where(swap, a, b)  # b has lost detail, if any has
    noisy = np.maximum(*fine) > NOISY
    a, b = (
        np.where(noisy[:, None, None, None], ndimage.gaussian_filter(x, (0, 1.5, 1.5, 0), mode="nearest"), x)
        for x in (a, b)
    )
    seen, wanted = a[..., 0] - 128, b[..., 0] - 128
    coarse, middle = _smooth(seen, 3), _smooth(seen, 1.3)
    parts = [coarse, middle - coarse, seen - middle, np.ones_like(seen), seen**2 / 128, seen**3 / 128**2]
    x = np.stack([p.reshape(len(a), -1) for p in parts], axis=2).astype(np.float64)
    y = wanted.reshape(len(a), -1, 1).astype(np.float64)
    weights = np.linalg.solve(x.swapaxes(1, 2) @ x + 1e-3 * np.eye(len(parts)), x.swapaxes(1, 2) @ y)
    fitted = (x @ weights).reshape(wanted.shape)
    error = np.sqrt(_largest((wanted - fitted) ** 2)) / np.maximum(wanted.std(axis=(1, 2)), 1e-6)
    detail = _correlation(_detail(fitted, 2.5), _detail(wanted, 2.5))
    upright = weights[:, 0, 0] > 0.3  # no negative
    enough = (detail > np.where(noisy, NOISY_DETAIL, DETAIL)) & (error < np.where(noisy, NOISY_LOCAL, local))
    return np.asarray(enough & upright & _same_hues(a, b))


def _same_hues(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n,) whether colours agree but for saturation; a grey picture has those of any."""
    a, b = (ndimage.gaussian_filter(x[..., 1:], (0, 2, 2, 0), mode="nearest") for x in (a, b))
    grey = np.minimum(*(np.sqrt((x**2).sum(axis=3)).max(axis=(1, 2)) for x in (a, b))) < 6
    gain = (a * b).sum(axis=(1, 2, 3)) / np.maximum((a**2).sum(axis=(1, 2, 3)), 1e-6)
    error = ((b - gain.clip(0.4, 2.5)[:, None, None, None] * a) ** 2).sum(axis=3)
    return np.asarray(grey | (np.sqrt(_largest(error)) < COLOUR))


def _smooth(x: np.ndarray, sigma: float) -> np.ndarray:
    return np.asarray(ndimage.gaussian_filter(x, (0, sigma, sigma), mode="nearest"))


def _detail(x: np.ndarray, sigma: float) -> np.ndarray:
    return np.asarray(x - _smooth(x, sigma))


def _largest(error: np.ndarray) -> np.ndarray:
    """(n,) the largest mean over any 9 x 9 pixels."""
    return np.asarray(ndimage.uniform_filter(error, (0, 9, 9))[:, 4:-4, 4:-4].max(axis=(1, 2)))


def _aligned(a: np.ndarray, b: np.ndarray, box: np.ndarray, steps: int = 8) -> np.ndarray:
    """(n, 4) the box of each ``a`` (n, 64, 64) that ``b`` shows, from a first guess: Gauss-Newton, half the pixels."""
    side = SIDE // 2
    a, b = (x.reshape(-1, side, 2, side, 2).mean(axis=(2, 4)) for x in (a, b))
    box, best = box.astype(np.float64), box.astype(np.float64)
    score = np.full(len(a), -np.inf)
    at = (np.arange(side) + 0.5) / side
    for step in range(steps + 1):
        sigma = 1.0 if step < steps // 2 else 0.3
        target = _smooth(b, sigma)
        seen = _smooth(_sampled(a[..., None], box)[..., 0], sigma)
        if step >= steps // 2:
            found = _correlation(seen, target)
            best[found > score], score = box[found > score], np.maximum(found, score)
        down, right = (g * side for g in np.gradient(seen, axis=(1, 2)))
        slopes = [right, right * at, down, down * at[:, None], seen, np.ones_like(seen)]
        x = np.stack([s.reshape(len(a), -1) for s in slopes], axis=2).astype(np.float64)
        y = target.reshape(len(a), -1, 1)
        move = np.linalg.solve(x.swapaxes(1, 2) @ x + 1e-3 * np.eye(6), x.swapaxes(1, 2) @ y)[..., 0]
        move = (move[:, :4] / np.where(np.abs(move[:, 4:5]) < 0.1, 0.1, move[:, 4:5])).clip(-0.05, 0.05)
        box[:, 0] += box[:, 2] * move[:, 0]
        box[:, 1] += box[:, 3] * move[:, 2]
        box[:, 2:] = (box[:, 2:] * (1 + move[:, [1, 3]])).clip(0.8, 1.03)
        box[:, :2] = box[:, :2].clip(-0.03, 0.2)
    return best


def _sampled(a: np.ndarray, box: np.ndarray) -> np.ndarray:
    """(n, side, side, channels) what lies in each box, by cubic interpolation."""
    side = a.shape[1]
    at = (np.arange(side) + 0.5) / side
    across = _weights((box[:, :1] + box[:, 2:3] * at) * side - 0.5)
    down = _weights((box[:, 1:2] + box[:, 3:4] * at) * side - 0.5)
    return np.asarray(np.einsum("nij,njkc,nlk->nilc", down, a, across, optimize=True), np.float32)


def _weights(at: np.ndarray) -> np.ndarray:
    """(n, side, side) of Keys' cubic interpolation at places (n, side)."""
    side = at.shape[1]
    x = np.abs(at.clip(0, side - 1)[..., None] - np.arange(side))
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weights = np.where(x < 1, near, np.where(x < 2, far, 0))
    return np.asarray(weights / weights.sum(axis=2, keepdims=True), np.float32)
