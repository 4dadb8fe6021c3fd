"""What a picture file shows is what is read of it, whatever its orientation, mode and depth; or one line says why."""

import struct
import zlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image, TiffImagePlugin

from phosphene.errors import PhospheneError
from phosphene.targets.base import picture_digests
from phosphene.utils.pictures import oddities, open_picture, picture_notes, upright

SCENE = np.zeros((40, 60, 3), np.uint8)
SCENE[:20, 30:] = [255, 0, 0]  # above on the right
SCENE[20:] = [0, 0, 255]
UP = Image.fromarray(SCENE)
TURN = Image.Transpose
#: how a picture lies that its EXIF orientation turns upright
LYING = {
    2: TURN.FLIP_LEFT_RIGHT,
    3: TURN.ROTATE_180,
    4: TURN.FLIP_TOP_BOTTOM,
    5: TURN.TRANSPOSE,
    6: TURN.ROTATE_90,
    7: TURN.TRANSVERSE,
    8: TURN.ROTATE_270,
}
FORMATS = {"jpg": {"quality": 97}, "png": {}, "webp": {"lossless": True}, "tif": {}}
RAMP = np.linspace(0, 65535, 60).astype(np.uint16)[None].repeat(40, 0)
GREY = np.rint(RAMP / 257).astype(int)  # of RAMP, 0 to 255


def exif(orientation) -> Image.Exif:
    made = Image.Exif()
    made[0x0112] = orientation
    return made


def ifd(*entries: tuple[int, int, int, bytes]) -> bytes:
    """EXIF of these entries: tag, type, count, four bytes."""
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return b"Exif\0\0" + head + b"".join(struct.pack("<HHI", *e[:3]) + e[3] for e in entries) + bytes(4)


def short(value: int) -> bytes:
    return struct.pack("<HH", value, 0)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(pixels: np.ndarray, colour: int, before: bytes = b"", behind: bytes = b"") -> bytes:
    """A PNG of 16 bits, with chunks before and behind its pixels."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, colour, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(rows)) + behind + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + before + body


def read(path) -> np.ndarray:
    picture = open_picture(path)
    assert picture.mode == "RGB"
    assert picture.info == {}
    return np.asarray(picture).astype(int)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("orientation", range(10))
def test_every_orientation_is_obeyed(tmp_path, suffix, orientation):
    path = tmp_path / f"x.{suffix}"
    lying = UP.transpose(LYING[orientation]) if orientation in LYING else UP
    lying.save(path, exif=exif(orientation), **FORMATS[suffix])
    shown = read(path)
    assert shown.shape == SCENE.shape
    assert np.abs(shown - SCENE).mean() < 3
    assert oddities(path) == ({"turned"} if orientation in LYING else set())
    again = upright(open_picture(path))
    assert np.array_equal(np.asarray(again), shown)  # not turned twice
    with Image.open(path) as image:
        assert np.array_equal(np.asarray(upright(image)), shown)


def test_an_orientation_behind_the_pixels_or_of_compressed_tiff(tmp_path):
    lying = np.asarray(UP.transpose(LYING[6])).astype(np.uint16) * 257
    late = chunk(b"eXIf", ifd((0x0112, 3, 1, short(6)))[6:])
    (tmp_path / "late.png").write_bytes(png(lying, 2, behind=late))
    assert np.array_equal(read(tmp_path / "late.png"), SCENE)
    assert "turned" in oddities(tmp_path / "late.png")
    UP.transpose(LYING[8]).save(tmp_path / "x.tif", exif=exif(8), compression="tiff_lzw")
    assert np.array_equal(read(tmp_path / "x.tif"), SCENE)


BROKEN = {
    "no TIFF header": b"Exif\0\0garbagegarbage",
    "nothing": b"Exif\0\0",
    "cut off": ifd((0x0112, 3, 1, short(6)))[:20],
    "more entries than bytes": b"Exif\0\0II*\0" + struct.pack("<IH", 8, 65535),
    "a text": ifd((0x0112, 2, 2, b"6\0\0\0")),
    "a number far away": ifd((0x0112, 3, 9, struct.pack("<I", 0xFFFFFF))),
    "a fraction": ifd((0x0112, 5, 1, struct.pack("<I", 8))),
    "65535": ifd((0x0112, 3, 1, short(65535))),
}


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("name", BROKEN)
def test_broken_exif_leaves_a_picture_as_it_is(tmp_path, name, suffix, recwarn):
    UP.save(tmp_path / f"x.{suffix}", exif=BROKEN[name], **FORMATS[suffix])
    assert np.abs(read(tmp_path / f"x.{suffix}") - SCENE).mean() < 3
    assert oddities(tmp_path / f"x.{suffix}") == set()
    assert len(recwarn) == 0


@pytest.mark.parametrize("other", [0x8769, 0x8825])
def test_an_orientation_beside_a_broken_directory_is_obeyed(tmp_path, other):
    lost = (other, 4, 1, struct.pack("<I", 0xFFFFFFF0))
    UP.transpose(LYING[6]).save(tmp_path / "x.jpg", exif=ifd((0x0112, 3, 1, short(6)), lost), quality=97)
    assert np.abs(read(tmp_path / "x.jpg") - SCENE).mean() < 3


def inverted(path):
    """16 bits of which 0 is white."""
    Image.fromarray(65535 - RAMP).save(path, tiffinfo=TiffImagePlugin.ImageFileDirectory_v2())
    content = bytearray(path.read_bytes())
    content[content.find(struct.pack("<HHI", 262, 3, 1)) + 8] = 0
    path.write_bytes(content)


GREYS = {
    "16 bits.png": lambda path: Image.fromarray(RAMP).save(path),
    "16 bits.tif": lambda path: Image.fromarray(RAMP).save(path),
    "16 bits, big end first.tif": lambda path: Image.fromarray(RAMP.astype(">u2")).save(path),
    "16 bits, compressed.tif": lambda path: Image.fromarray(RAMP).save(path, compression="tiff_lzw"),
    "16 bits, white is zero.tif": inverted,
    "32 bits.tif": lambda path: Image.fromarray(RAMP.astype(np.int32)).save(path),
    "32 bits of 0 to 255.tif": lambda path: Image.fromarray(GREY.astype(np.int32)).save(path),
    "float of 0 to 1.tif": lambda path: Image.fromarray((RAMP / 65535).astype(np.float32)).save(path),
    "float of 0 to 255.tif": lambda path: Image.fromarray((RAMP / 257).astype(np.float32)).save(path),
    "float, barely above 1.tif": lambda path: Image.fromarray((RAMP / 65530).astype(np.float32)).save(path),
    "RGB of 16 bits.png": lambda path: path.write_bytes(png(np.stack([RAMP] * 3, 2), 2)),
    "grey and alpha of 16 bits.png": lambda path: path.write_bytes(png(np.stack([RAMP, RAMP * 0 + 65535], 2), 4)),
}


@pytest.mark.parametrize("name", GREYS)
def test_grey_of_many_bits_is_scaled(tmp_path, name):
    GREYS[name](tmp_path / name)
    shown = read(tmp_path / name)
    assert np.abs(shown - GREY[..., None]).max() <= 1
    assert oddities(tmp_path / name) == {"deep"}


COLOURS = {
    "cmyk.jpg": ("CMYK", (255, 0, 0), {"quality": 97}),
    "lab.tif": ("LAB", (255, 0, 0), {}),
    "ycbcr.tif": ("YCbCr", (255, 0, 0), {}),
    "palette.png": ("P", (255, 0, 0), {}),
    "palette.gif": ("P", (255, 0, 0), {}),
    "clear colour.png": ("RGB", (255, 255, 255), {"transparency": (255, 0, 0)}),
    "grey.png": ("L", (76, 76, 76), {}),
    "rgb.bmp": ("RGB", (255, 0, 0), {}),
}


@pytest.mark.parametrize("name", COLOURS)
def test_every_mode_is_rgb(tmp_path, name):
    mode, wanted, options = COLOURS[name]
    UP.convert(mode).save(tmp_path / name, **options)
    assert np.abs(read(tmp_path / name)[4, 50] - wanted).max() <= 8
    assert oddities(tmp_path / name) == set()


@pytest.mark.parametrize("name", ["x.png", "x.webp", "x.tif"])
def test_what_is_half_clear_is_laid_on_white(tmp_path, name):
    Image.fromarray(np.dstack([SCENE, np.full(SCENE.shape[:2], 128, np.uint8)])).save(
        tmp_path / name, **{"lossless": True}
    )
    assert np.abs(read(tmp_path / name)[4, 50] - [255, 127, 127]).max() <= 2


def test_clear_values_of_16_bits_are_white(tmp_path):
    (tmp_path / "grey.png").write_bytes(png(RAMP, 0, chunk(b"tRNS", struct.pack(">H", 0))))
    assert read(tmp_path / "grey.png")[0, :3, 0].tolist() == [255, GREY[0, 1], GREY[0, 2]]
    red = chunk(b"tRNS", struct.pack(">HHH", 65535, 0, 0))
    (tmp_path / "rgb.png").write_bytes(png(SCENE.astype(np.uint16) * 257, 2, red))
    assert read(tmp_path / "rgb.png")[4, 50].tolist() == [255, 255, 255]


SHARE = RAMP / 65535
REFUSED = {
    "NaN": (np.where(SHARE > 0.5, np.nan, SHARE).astype(np.float32), "holds NaN or infinity"),
    "infinity": (np.where(SHARE > 0.5, np.inf, SHARE).astype(np.float32), "holds NaN or infinity"),
    "negative": ((SHARE - 0.5).astype(np.float32), "values from -0.5 to 0.5, of which neither"),
    "a little above 1": ((SHARE * 3).astype(np.float32), "scale it to 0 to 1 or 0 to 255"),
    "radiance": ((SHARE * 1e4).astype(np.float32), "scale it to 0 to 1 or 0 to 255"),
    "32 whole bits": (RAMP.astype(np.int32) * 30000, "scale it to 0 to 255 or 0 to 65535"),
    "labels": ((RAMP // 10000).astype(np.int32), "of which neither black nor white is known"),
    "8 bits in 16": ((RAMP // 257).astype(np.uint16), "no value above 255 of 65535, which is black"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_values_without_a_known_range_are_refused(tmp_path, name):
    values, message = REFUSED[name]
    Image.fromarray(values).save(tmp_path / "x.tif")
    with pytest.raises(PhospheneError, match=rf"picture \S*x.tif .*{message}"):
        open_picture(tmp_path / "x.tif")
    with pytest.raises(PhospheneError, match=message):
        picture_notes([tmp_path / "x.tif"])


@pytest.mark.parametrize("name", ["x.gif", "x.webp", "x.png", "x.tif"])
def test_of_several_frames_the_first(tmp_path, name):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    assert np.abs(read(tmp_path / name)[2, 2] - [255, 0, 0]).max() <= 2
    assert oddities(tmp_path / name) == {"frames"}


def test_what_is_odd_is_counted_in_notes(tmp_path):
    UP.save(tmp_path / "plain.png")
    for k in (3, 6):
        UP.save(tmp_path / f"{k}.jpg", exif=exif(k))
    Image.fromarray(RAMP // 16).save(tmp_path / "12 bits.png")
    UP.save(tmp_path / "film.gif", save_all=True, append_images=[UP.transpose(TURN.ROTATE_180)])
    (tmp_path / "damaged.png").write_bytes(b"")
    notes = picture_notes(sorted(tmp_path.iterdir()))
    assert [note.partition(" have ")[0] for note in notes] == [
        "2 of 6 pictures",
        "1 of 6 pictures",
        "1 of 6 pictures",
        "1 of 6 pictures",
    ]
    for note, word in zip(notes, ("EXIF orientation", "more than 8 bits", "less than a sixteenth", "several frames")):  # noqa: B905
        assert word in note
    assert picture_notes([tmp_path / "plain.png"]) == []


def test_vectors_of_lying_pictures_are_not_those_of_upright_ones(tmp_path):
    UP.save(tmp_path / "a.png")
    UP.save(tmp_path / "b.png", exif=exif(3))
    plain, turned = picture_digests(pd.DataFrame({"image": [str(tmp_path / "a.png"), str(tmp_path / "b.png")]}))
    assert plain.isalnum()  # as it was kept before orientations were obeyed
    assert not turned.isalnum()
