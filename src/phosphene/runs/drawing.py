"""Pictures drawn and kept: what a stop left out is drawn as if nothing had stopped."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from phosphene.generators.base import Conditioning, Generator
from phosphene.utils.checksums import intact, kept
from phosphene.utils.pictures import open_picture
from phosphene.utils.progress import Bar

_CHUNK = 32  # trials drawn, then kept, at a time


def draw_missing(
    generator: Generator,
    conditioning: Conditioning,
    paths: Sequence[Path],
    numbers: Sequence[int],
    seed: int,
    draws: int = 1,
    bar: Bar = lambda n=1: None,
) -> None:
    """Draw each row of ``conditioning`` to its path, in chunks; one whose pictures all lie there is done already.

    A chunk is drawn whole: alone, a picture that a stop left out would be rounded otherwise.

    Parameters
    ----------
    paths, numbers : (n_rows,) of the first picture of a row, which names the others; and the row's own noise.
    draws : pictures of each row.
    bar : hears how many rows are done.
    """
    for start in range(0, len(paths), _CHUNK):
        part = list(range(start, min(start + _CHUNK, len(paths))))
        if not all(paths[i].is_file() for i in part):
            drawn = generator(conditioning.rows(part), n=draws, seed=seed, numbers=[numbers[i] for i in part])
            for i, pictures in zip(part, drawn, strict=True):
                _save(paths[i], pictures)
        bar(len(part))


def open_drawing(path: Path) -> Image.Image:
    """A picture that was drawn."""
    return open_picture(intact(path, "remove it and run again"))


def _save(first: Path, pictures: Sequence[Image.Image]) -> None:
    """The draws of one trial, the first one last, so that its presence says that all are there."""
    for draw, picture in reversed(list(enumerate(pictures))):
        with kept(first if draw == 0 else first.with_name(f"{first.name.rsplit('-', 1)[0]}-{draw}.png")) as part:
            picture.save(part)
