"""Any file to upright 8-bit RGB, or one line that says why not."""

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from tlearn.data import images
from tlearn.data.images import decode, decoding, examining, load_image
from tlearn.data.views import PAD_COLOUR, to_square
from tlearn.errors import ConfigError, DataError

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
BLACK, GREY, WHITE = (0, 0, 0), (128, 128, 128), (255, 255, 255)


def encode(image, form, **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour, pixels, transparent=b""):
    """Write a PNG by hand, for what Pillow does not write."""
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)),
            chunk(b"tRNS", transparent) if transparent else b"",
            chunk(b"IDAT", zlib.compress(pixels)),
            chunk(b"IEND", b""),
        ]
    )


def noise(width, height, seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3))
    return Image.fromarray(values.astype(np.uint8))


def refusal(data):
    """Return why decoding was refused, or None where it was not; all else is a failure."""
    try:
        image = decode(data, 64)
    except DataError as error:
        assert str(error) and "\n" not in str(error)
        return str(error)
    assert image.mode == "RGB" and min(image.size) >= 1
    return None


MODES = [
    ("1", "PNG", 1, WHITE),
    ("1", "TIFF", 0, BLACK),
    ("L", "PNG", 77, (77, 77, 77)),
    ("L", "JPEG", 77, (77, 77, 77)),
    ("LA", "PNG", (77, 255), (77, 77, 77)),
    ("LA", "PNG", (77, 0), WHITE),
    ("LA", "PNG", (0, 128), (127, 127, 127)),
    ("I;16", "PNG", 128 * 257, GREY),
    ("I;16", "PNG", 300, (1, 1, 1)),
    ("I;16", "TIFF", 128 * 257, GREY),
    ("I;16B", "TIFF", 128 * 257, GREY),
    ("I", "TIFF", 128 * 257, GREY),
    ("I", "TIFF", 200, (1, 1, 1)),
    ("I", "TIFF", 2**30, WHITE),
    ("I", "TIFF", -5, BLACK),
    ("F", "TIFF", 0.5, GREY),
    ("F", "TIFF", 128.0, WHITE),
    ("F", "TIFF", float("nan"), BLACK),
    ("F", "TIFF", float("inf"), BLACK),
    ("RGB", "PNG", (1, 2, 3), (1, 2, 3)),
    ("RGBA", "PNG", (1, 2, 3, 255), (1, 2, 3)),
    ("RGBA", "PNG", (255, 0, 0, 0), WHITE),
    ("RGBA", "PNG", (255, 0, 0, 128), (255, 127, 127)),
    ("RGBA", "TIFF", (0, 0, 0, 0), WHITE),
    ("RGBA", "ICO", (0, 0, 0, 0), WHITE),
    ("RGBA", "GIF", (0, 0, 0, 0), WHITE),
    ("YCbCr", "TIFF", (76, 85, 255), RED),
    ("CMYK", "JPEG", (0, 255, 255, 0), RED),
    ("CMYK", "TIFF", (255, 255, 0, 0), BLUE),
    ("LAB", "TIFF", (255, 128, 128), WHITE),
    ("LAB", "TIFF", (138, 209, 198), RED),
]


def test_every_mode_becomes_the_colour_it_means():
    for mode, form, value, expected in MODES:
        pixels = np.asarray(decode(encode(Image.new(mode, (16, 16), value), form), 8))
        assert pixels.shape == (16, 16, 3) and pixels.dtype == np.uint8
        tolerance = 6 if form == "JPEG" or mode in ("LAB", "YCbCr") else 0
        difference = np.abs(pixels.astype(int) - expected).max()
        assert difference <= tolerance, (mode, form, value)


def test_palettes_become_colours_and_their_transparency_white():
    image = Image.new("P", (3, 1))
    image.putpalette([*RED, *GREEN, *BLUE])
    image.putdata([0, 1, 2])
    half = [127, 127, 255]
    for options, expected in (
        ({}, [[*RED], [*GREEN], [*BLUE]]),
        ({"transparency": 0}, [[*WHITE], [*GREEN], [*BLUE]]),
        ({"transparency": bytes([0, 255, 128])}, [[*WHITE], [*GREEN], half]),
    ):
        assert np.asarray(decode(encode(image, "PNG", **options), 1))[0].tolist() == expected


def test_a_transparent_colour_becomes_white():
    for depth, colour, row, transparent, expected in (
        (8, 0, bytes([50, 90]), struct.pack(">H", 50), [[255] * 3, [90] * 3]),
        (8, 2, bytes([*RED, *BLUE]), struct.pack(">3H", *RED), [[255] * 3, [*BLUE]]),
        (1, 0, bytes([0b01000000]), struct.pack(">H", 0), [[255] * 3, [255] * 3]),
        (16, 0, struct.pack(">2H", 0, 25700), struct.pack(">H", 0), [[255] * 3, [100] * 3]),
        (16, 0, struct.pack(">2H", 300, 301), struct.pack(">H", 300), [[255] * 3, [1] * 3]),
    ):
        data = png(2, 1, depth, colour, b"\0" + row, transparent)
        assert np.asarray(decode(data, 1))[0].tolist() == expected


def test_the_first_frame_of_an_animation_is_taken():
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, GREEN, BLUE)]
    for form in ("GIF", "PNG", "WEBP", "TIFF"):
        data = encode(frames[0], form, save_all=True, append_images=frames[1:])
        assert Image.open(io.BytesIO(data)).n_frames == 3
        assert np.abs(np.asarray(decode(data, 8)).astype(int) - RED).max() <= 4


def test_all_exif_orientations_show_the_same_upright_scene(shared):
    folder = shared / "data/messy/exif_orientation"
    for scene in ("Landscape", "Portrait"):
        paths = [folder / f"{scene}_{i}.jpg" for i in range(9)]
        first, *others = (load_image(path, 64, "squash").astype(float) for path in paths)
        for shot in others:
            assert np.abs(shot - first).mean() < 2  # each was compressed anew; turned ones are >40
        width, height = decode(paths[6].read_bytes(), 64).size
        assert (width > height) == (scene == "Landscape")


def test_orientation_is_applied_in_every_format_that_has_it():
    image = Image.new("RGB", (32, 16), WHITE)
    image.paste((0, 0, 0), (0, 0, 8, 8))  # the mark that tells where the stored top left went
    # What the EXIF standard says of the stored row 0 and column 0, for orientations 1 to 8.
    stored_corner = ["tl", "tr", "br", "bl", "tl", "tr", "br", "bl"]
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for form in ("JPEG", "PNG", "WEBP", "TIFF"):
            pixels = np.asarray(decode(encode(image, form, exif=exif), 8)).astype(int).mean(2)
            assert pixels.shape == ((32, 16) if orientation >= 5 else (16, 32))
            places = {"tl": (2, 2), "tr": (2, -3), "bl": (-3, 2), "br": (-3, -3)}
            corners = {corner: pixels[place] for corner, place in places.items()}
            assert min(corners, key=corners.get) == stored_corner[orientation - 1]
            assert sorted(corners.values())[1] > 200


def test_damaged_exif_counts_as_none():
    data = encode(Image.new("RGB", (32, 16), RED), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert decode(data, 8).size == (32, 16)


def test_jpeg_draft_gives_nearly_the_pixels_of_full_decoding(shared):
    photos = [shared / "data/messy/exif_orientation/Landscape_1.jpg"]
    photos += sorted((shared / "data/flowers").glob("*/*.jpg"))[::150]
    for path in photos:
        data = path.read_bytes()
        full = Image.open(io.BytesIO(data)).convert("RGB")
        for size in (16, 48):
            part = decode(data, size)
            assert min(part.size) >= 2 * size
            assert (part.width < full.width) == (min(full.size) >= 4 * size)
            difference = to_square(part, size, "squash") - to_square(full, size, "squash").astype(
                int
            )
            assert np.abs(difference).mean() < 4


def bands(width, height):
    """Red, green and blue thirds along the longer side."""
    image = Image.new("RGB", (width, height), GREEN)
    if width >= height:
        image.paste(RED, (0, 0, width // 3, height))
        image.paste(BLUE, (width - width // 3, 0, width, height))
    else:
        image.paste(RED, (0, 0, width, height // 3))
        image.paste(BLUE, (0, height - height // 3, width, height))
    return image


def test_of_large_images_one_is_in_memory_at_a_time_and_once(monkeypatch):
    monkeypatch.setattr("tlearn.data.images.LARGE", 100)
    large, small = (encode(Image.new("RGB", (side, side)), "PNG") for side in (11, 10))
    with ThreadPoolExecutor(2) as pool:
        with examining(large, 8) as examined:
            waiting = pool.submit(decode, large, 8)
            assert pool.submit(decode, small, 8).result().size == (10, 10)
            assert examined.image is examined.loaded and not waiting.done()
        assert waiting.result().size == (11, 11)
    reduced = encode(Image.new("RGB", (30, 30)), "JPEG")  # to an eighth
    with decoding(reduced, 1), ThreadPoolExecutor(1) as pool:
        assert pool.submit(decode, large, 8).result().size == (11, 11)


def test_resize_rules_show_the_right_region():
    for resize, expected in (
        ("crop", [GREEN, GREEN, GREEN, GREEN, GREEN]),
        ("squash", [RED, RED, GREEN, BLUE, BLUE]),
        ("pad", [RED, RED, GREEN, BLUE, BLUE]),
    ):
        fill = [*(PAD_COLOUR if resize == "pad" else GREEN)]
        upright = to_square(bands(30, 90), 30, resize).transpose(1, 0, 2)
        for pixels in (to_square(bands(90, 30), 30, resize), upright):
            assert pixels[15][[1, 7, 15, 22, 28]].tolist() == [[*colour] for colour in expected]
            assert pixels[:, 15][[0, 8, 21, 29]].tolist() == [fill] * 4
            assert pixels.shape == (30, 30, 3) and pixels.dtype == np.uint8
        image = noise(50, 50)  # square ones are the same under every rule
        assert np.array_equal(to_square(image, 20, resize), to_square(image, 20, "squash"))
        assert np.array_equal(to_square(image, 50, resize), np.asarray(image))


def test_shrinking_is_antialiased():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.ptp(to_square(Image.fromarray(stripes), 16, "squash")[:, 2:-2].astype(int)) < 30


def test_what_is_no_image_is_refused_with_a_reason():
    for data, expected in (
        (b"", "empty"),
        (b"\0" * 500, "only zeros"),
        (b"hello, I am a text\n" * 20, images.NOT_AN_IMAGE),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", images.NOT_AN_IMAGE),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", images.NOT_AN_IMAGE),
        (b"\xff\xd8\xff" + b"\0" * 99, "damaged or unsupported JPEG"),
        (png(0, 9, 8, 2, b""), "damaged or unsupported PNG"),
        (png(60000, 60000, 8, 2, b"\0"), "pixels"),
    ):
        assert expected in refusal(data)


def test_truncated_files_are_refused():
    for form in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "JPEG2000", "PPM"):
        data = encode(noise(64, 48), form)
        assert refusal(data) is None
        for part in (0.02, 0.5, 0.9):
            assert refusal(data[: int(len(data) * part)]), (form, part)


def test_damaged_bytes_raise_nothing_but_data_errors():
    rng = np.random.default_rng(0)
    for form in ("JPEG", "PNG", "GIF", "TIFF", "WEBP"):
        whole = encode(noise(24, 16), form)
        refused = 0
        for _ in range(60):
            data = bytearray(whole)
            for place in rng.integers(0, min(len(data), 200), 4):
                data[place] = rng.integers(0, 256)
            refused += refusal(bytes(data)) is not None
        assert refused  # otherwise the damage was none


def test_decoders_print_nothing_about_damaged_files(capfd):
    picture = noise(64, 64)
    for mode, compression in (("RGB", "tiff_lzw"), ("RGB", "tiff_adobe_deflate"), ("1", "group4")):
        data = bytearray(encode(picture.convert(mode), "TIFF", compression=compression))
        for k in range(20, len(data) // 2, 7):
            data[k] ^= 0x5A
        refusal(bytes(data))
    assert capfd.readouterr().err == ""


def test_a_missing_file_is_refused_with_the_systems_reason(tmp_path):
    with pytest.raises(DataError, match="cannot be read: No such file"):
        load_image(tmp_path / "gone.jpg", 8, "crop")


def test_what_a_photo_cannot_become_is_refused_before_it_is_read():
    with pytest.raises(ConfigError, match=r"size: must be at least 1\. Received: 0"):
        load_image("gone.jpg", 0)
    with pytest.raises(ConfigError, match=r"resize: must be one of .*squash.* Received: 'stretch'"):
        load_image("gone.jpg", 8, "stretch")


def test_pngsuite_decodes_but_for_its_corrupt_files(shared):
    folder = shared / "data/messy/pngsuite"
    reasons = {path.name: refusal(path.read_bytes()) for path in folder.glob("png/*.png")}
    assert len(reasons) == 175
    assert {n for n, why in reasons.items() if why} == {n for n in reasons if n.startswith("x")}
    for name in ("basn2c08", "basi2c08", "basn0g08", "basn3p08", "basn3p02"):
        path = folder / f"png/{name}.png"
        plain = np.asarray(Image.open(path).convert("RGB"))
        assert np.array_equal(np.asarray(decode(path.read_bytes(), 64)), plain)
    bitmaps = [refusal(path.read_bytes()) for path in folder.glob("bmp/*.bmp")]
    assert len(bitmaps) == 161 and sum(why is not None for why in bitmaps) < 10


def test_hostile_files_are_decoded_or_refused_and_nothing_else(shared):
    for folder in ("pillow", "libjpeg_turbo"):
        paths = [p for p in (shared / "data/messy" / folder).rglob("*") if p.is_file()]
        refused = [path for path in paths if refusal(path.read_bytes())]
        assert 1 <= len(refused) < len(paths) / 2


def test_a_naturally_dirty_data_set_decodes_whole(shared):
    paths = [p for label in ("yes", "no") for p in (shared / "data/brain_tumor" / label).iterdir()]
    assert len(paths) == 253
    assert not [path for path in paths if refusal(path.read_bytes())]
