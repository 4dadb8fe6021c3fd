"""How often pictures are called the same that are not, and copies missed (`phosphene.utils.lookalikes`).

    python benchmarks/near_duplicates.py --photographs FOLDER [--n 2000] [--copied 20]

Different pictures: every pair of a set. Copies: each way to copy a picture, for pictures drawn at random from each set.
"""

import argparse
import io
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from phosphene.errors import PhospheneError
from phosphene.simulate.scenes import draw_with_mask, sample_scenes
from phosphene.utils.files import digest
from phosphene.utils.lookalikes import near_duplicates, thumbnail
from phosphene.utils.pictures import open_picture

Picture = Image.Image


def photographs(folder: Path) -> list[Picture]:
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")):
        try:
            found.setdefault(digest(path), open_picture(path))
        except PhospheneError:
            continue
    return list(found.values())


def tiles(pictures: list[Picture], each: int = 4) -> list[Picture]:
    """Parts that do not overlap; those of one colour are left out."""
    parts = []
    for picture in pictures:
        across, down = (np.linspace(0, side, each + 1).astype(int) for side in picture.size)
        boxes = [(across[i], down[j], across[i + 1], down[j + 1]) for i in range(each) for j in range(each)]
        parts += [picture.crop(box) for box in boxes]
    return [part for part in parts if np.asarray(part).reshape(-1, 3).std(axis=0).max() >= 4]


def noise(n: int, side: int, exponent: float) -> list[Picture]:
    rng = np.random.default_rng(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    frequency[0, 0] = 1
    made = []
    for _ in range(n):
        spectra = np.fft.fft2(rng.standard_normal((3, side, side))) / frequency**exponent
        x = np.real(np.fft.ifft2(spectra)).transpose(1, 2, 0)
        made.append(Image.fromarray((128 + 45 * x / x.std()).clip(0, 255).astype(np.uint8)))
    return made


def gratings(side: int = 96) -> list[Picture]:
    """Of every 15 degrees, four spatial frequencies and two phases, with hard and with soft edges."""
    y, x = (np.mgrid[:side, :side] - side / 2) / side
    made = []
    for soft in (False, True):
        for cycles in (2, 4, 8, 12):
            for degrees in range(0, 180, 15):
                for phase in (0, np.pi / 2):
                    turn = np.radians(degrees)
                    wave = np.cos(2 * np.pi * cycles * (x * np.cos(turn) + y * np.sin(turn)) + phase)
                    wave = wave * np.exp(-(x**2 + y**2) / 0.045) if soft else wave
                    made.append(Image.fromarray((127.5 + 127 * wave).astype(np.uint8)).convert("RGB"))
    return made


def scenes(n: int) -> list[Picture]:
    return [draw_with_mask(scene)[0] for scene in sample_scenes(n, seed=0)]


def drawn_anew(n: int, each: int = 12) -> list[Picture]:
    """The same scenes, each drawn several times: object, size and ground vary by little."""
    rng = np.random.default_rng(1)
    chosen = sample_scenes(n // each, seed=1)
    return [draw_with_mask(replace(s, seed=int(rng.integers(2**31))))[0] for s in chosen for _ in range(each)]


def saved(picture: Picture, kind: str, **options: int) -> Picture:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return Image.open(file).convert("RGB")


def resized(picture: Picture, share: float) -> Picture:
    return picture.resize((round(picture.width * share), round(picture.height * share)))


def cropped(picture: Picture, left: int, top: int, right: int, bottom: int) -> Picture:
    return picture.crop((left, top, picture.width - right, picture.height - bottom))


COPIES: dict[str, Callable[[Picture], Picture]] = {
    "JPEG, quality 70": lambda p: saved(p, "JPEG", quality=70),
    "WEBP, quality 75": lambda p: saved(p, "WEBP", quality=75),
    "50 %": lambda p: resized(p, 0.5),
    "150 %": lambda p: resized(p, 1.5),
    "cropped by 2 px": lambda p: cropped(p, 2, 2, 2, 2),
    "cropped by 4 px": lambda p: cropped(p, 4, 4, 4, 4),
    "cropped by 4 px, left and top": lambda p: cropped(p, 4, 4, 0, 0),
    "cropped by 3 px, resized": lambda p: cropped(p, 3, 3, 3, 3).resize(p.size),
    "mirrored": ImageOps.mirror,
    "mirrored, 50 %, JPEG": lambda p: saved(resized(ImageOps.mirror(p), 0.5), "JPEG", quality=70),
    "grey": lambda p: p.convert("L").convert("RGB"),
    "256 colours": lambda p: p.convert("P", palette=Image.Palette.ADAPTIVE).convert("RGB"),
    "10 % brighter": lambda p: ImageEnhance.Brightness(p).enhance(1.1),
    "20 % more contrast": lambda p: ImageEnhance.Contrast(p).enhance(1.2),
}


def pairs(pictures: list[Picture]) -> np.ndarray:
    return near_duplicates(np.stack([thumbnail(p) for p in pictures]), [min(p.size) for p in pictures])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--copied", type=int, default=20)
    arguments = parser.parse_args()
    own = photographs(arguments.photographs)
    sets = {
        "photographs": own,
        "parts of photographs": tiles(own),
        "simulated scenes": scenes(arguments.n),
        "scenes drawn anew": drawn_anew(480),
        "white noise, 48 px": noise(arguments.n, 48, 0),
        "1/f noise, 128 px": noise(arguments.n, 128, 1),
        "gratings": gratings(),
    }
    print("| different pictures | pictures | pairs | called the same | s |\n|---|---|---|---|---|")
    for name, pictures in sets.items():
        began = time.perf_counter()
        found, n = pairs(pictures), len(pictures)
        print(
            f"| {name} | {n:,} | {n * (n - 1) // 2:,} | {len(found)} | {time.perf_counter() - began:.0f} |", flush=True
        )
    of = ("photographs", "simulated scenes", "white noise, 48 px")
    print(f"\n| copies found | {' | '.join(of)} |\n|---|{'---|' * len(of)}")
    rng = np.random.default_rng(2)
    chosen = {name: [sets[name][i] for i in rng.permutation(len(sets[name]))[: arguments.copied]] for name in of}
    for way, change in COPIES.items():
        row = []
        for pictures in chosen.values():
            found = {tuple(pair) for pair in pairs([*pictures, *(change(p) for p in pictures)]).tolist()}
            row.append(f"{sum((i, i + len(pictures)) in found for i in range(len(pictures)))} of {len(pictures)}")
        print(f"| {way} | {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
