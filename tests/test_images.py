"""Any file to upright 8-bit RGB, or one line that says why not."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tlearn.data import images
from tlearn.data.images import decode, load_image, to_square
from tlearn.errors import DataError

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


@pytest.mark.parametrize(
    ("mode", "form", "value", "expected"),
    [
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
    ],
)
def test_every_mode_becomes_the_colour_it_means(mode, form, value, expected):
    pixels = np.asarray(decode(encode(Image.new(mode, (16, 16), value), form), 8))
    assert pixels.shape == (16, 16, 3) and pixels.dtype == np.uint8
    tolerance = 6 if form == "JPEG" or mode in ("LAB", "YCbCr") else 0
    assert np.abs(pixels.astype(int) - expected).max() <= tolerance


def test_sixteen_bit_grey_is_scaled_over_the_whole_range():
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    pixels = np.asarray(decode(encode(Image.fromarray(values), "PNG"), 8))
    assert np.array_equal(pixels[..., 0], np.rint(values / 257))
    assert len(np.unique(pixels)) == 256


@pytest.mark.parametrize("transparent", [None, 0, bytes([0, 255, 128])])
def test_palettes_become_colours_and_their_transparency_white(transparent):
    image = Image.new("P", (3, 1))
    image.putpalette([*RED, *GREEN, *BLUE])
    image.putdata([0, 1, 2])
    options = {} if transparent is None else {"transparency": transparent}
    first, second, third = np.asarray(decode(encode(image, "PNG", **options), 1))[0].tolist()
    assert first == [*(RED if transparent is None else WHITE)]
    assert second == [*GREEN]
    assert third == ([127, 127, 255] if isinstance(transparent, bytes) else [*BLUE])


@pytest.mark.parametrize(
    ("depth", "colour", "row", "transparent", "expected"),
    [
        (8, 0, bytes([50, 90]), struct.pack(">H", 50), [[255] * 3, [90] * 3]),
        (8, 2, bytes([*RED, *BLUE]), struct.pack(">3H", *RED), [[255] * 3, [*BLUE]]),
        (1, 0, bytes([0b01000000]), struct.pack(">H", 0), [[255] * 3, [255] * 3]),
        (16, 0, struct.pack(">2H", 0, 25700), struct.pack(">H", 0), [[255] * 3, [100] * 3]),
        (16, 0, struct.pack(">2H", 300, 301), struct.pack(">H", 300), [[255] * 3, [1] * 3]),
    ],
)
def test_a_transparent_colour_becomes_white(depth, colour, row, transparent, expected):
    data = png(2, 1, depth, colour, b"\0" + row, transparent)
    assert np.asarray(decode(data, 1))[0].tolist() == expected


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_an_animation_is_taken(form):
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, GREEN, BLUE)]
    data = encode(frames[0], form, save_all=True, append_images=frames[1:])
    assert Image.open(io.BytesIO(data)).n_frames == 3
    assert np.abs(np.asarray(decode(data, 8)).astype(int) - RED).max() <= 4


@pytest.mark.parametrize("scene", ["Landscape", "Portrait"])
def test_all_exif_orientations_show_the_same_upright_scene(shared, scene):
    folder = shared / "data/messy/exif_orientation"
    shots = [load_image(folder / f"{scene}_{i}.jpg", 64, "squash").astype(float) for i in range(9)]
    for shot in shots[1:]:
        assert np.abs(shot - shots[0]).mean() < 2  # each was compressed anew; turned ones are >40
    width, height = decode((folder / f"{scene}_6.jpg").read_bytes(), 64).size
    assert (width > height) == (scene == "Landscape")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_in_every_format_that_has_it(form, orientation):
    image = Image.new("RGB", (32, 16), WHITE)
    image.paste((0, 0, 0), (0, 0, 8, 8))  # the mark that tells where the stored top left went
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.asarray(decode(encode(image, form, exif=exif), 8)).astype(int).mean(2)
    turned = orientation >= 5
    assert pixels.shape == ((32, 16) if turned else (16, 32))
    corners = {"tl": pixels[2, 2], "tr": pixels[2, -3], "bl": pixels[-3, 2], "br": pixels[-3, -3]}
    # What the EXIF standard says of the stored row 0 and column 0, for orientations 1 to 8.
    stored_corner = ["tl", "tr", "br", "bl", "tl", "tr", "br", "bl"][orientation - 1]
    assert min(corners, key=corners.get) == stored_corner
    assert sorted(corners.values())[1] > 200


def test_damaged_exif_counts_as_none():
    data = encode(Image.new("RGB", (32, 16), RED), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert decode(data, 8).size == (32, 16)


@pytest.mark.parametrize("size", [16, 48])
def test_jpeg_draft_gives_nearly_the_pixels_of_full_decoding(shared, size):
    photos = [shared / "data/messy/exif_orientation/Landscape_1.jpg"]
    photos += sorted((shared / "data/flowers").glob("*/*.jpg"))[::150]
    for path in photos:
        data = path.read_bytes()
        full = Image.open(io.BytesIO(data)).convert("RGB")
        part = decode(data, size)
        assert min(part.size) >= 2 * size
        assert (part.width < full.width) == (min(full.size) >= 4 * size)
        difference = to_square(part, size, "squash") - to_square(full, size, "squash").astype(int)
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


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("resize", "expected"),
    [
        ("crop", [GREEN, GREEN, GREEN, GREEN, GREEN]),
        ("squash", [RED, RED, GREEN, BLUE, BLUE]),
        ("pad", [RED, RED, GREEN, BLUE, BLUE]),
    ],
)
def test_resize_rules_show_the_right_region(resize, expected, turned):
    pixels = to_square(bands(30, 90) if turned else bands(90, 30), 30, resize)
    line = pixels[:, 15] if turned else pixels[15]
    assert line[[1, 7, 15, 22, 28]].tolist() == [[*colour] for colour in expected]
    outside = (pixels[15] if turned else pixels[:, 15])[[0, 8, 21, 29]].tolist()
    fill = [*(images.PAD_COLOUR if resize == "pad" else GREEN)]
    assert outside == [fill] * 4
    assert pixels.shape == (30, 30, 3) and pixels.dtype == np.uint8


@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
def test_square_images_are_the_same_under_every_rule(resize):
    image = noise(50, 50)
    assert np.array_equal(to_square(image, 20, resize), to_square(image, 20, "squash"))
    assert np.array_equal(to_square(image, 50, resize), np.asarray(image))


def test_shrinking_is_antialiased():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.ptp(to_square(Image.fromarray(stripes), 16, "squash")[:, 2:-2].astype(int)) < 30


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty"),
        (b"\0" * 500, "only zeros"),
        (b"hello, I am a text\n" * 20, images.NOT_AN_IMAGE),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", images.NOT_AN_IMAGE),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", images.NOT_AN_IMAGE),
        (b"\xff\xd8\xff" + b"\0" * 99, "damaged or unsupported JPEG"),
        (png(0, 9, 8, 2, b""), "damaged or unsupported PNG"),
        (png(60000, 60000, 8, 2, b"\0"), "pixels"),
    ],
    ids=["empty", "zeros", "text", "svg", "eps", "jpeg start", "no width", "bomb"],
)
def test_what_is_no_image_is_refused_with_a_reason(data, expected):
    assert expected in refusal(data)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "JPEG2000", "PPM"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.9])
def test_truncated_files_are_refused(form, kept):
    data = encode(noise(64, 48), form)
    assert refusal(data) is None
    assert refusal(data[: int(len(data) * kept)])


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "TIFF", "WEBP"])
def test_damaged_bytes_raise_nothing_but_data_errors(form):
    rng = np.random.default_rng(0)
    whole = encode(noise(24, 16), form)
    refused = 0
    for _ in range(60):
        data = bytearray(whole)
        for place in rng.integers(0, min(len(data), 200), 4):
            data[place] = rng.integers(0, 256)
        refused += refusal(bytes(data)) is not None
    assert refused  # otherwise the damage was none


def test_a_missing_file_is_refused_with_the_systems_reason(tmp_path):
    with pytest.raises(DataError, match="cannot be read: No such file"):
        load_image(tmp_path / "gone.jpg", 8, "crop")


@pytest.mark.parametrize("name", ["photo.jpg", "photo.txt", "photo"])
def test_content_decides_and_the_name_does_not(tmp_path, name):
    image = noise(20, 20)
    (tmp_path / name).write_bytes(encode(image, "PNG"))
    assert np.array_equal(load_image(tmp_path / name, 20, "squash"), np.asarray(image))


def test_pngsuite_decodes_but_for_its_corrupt_files(shared):
    folder = shared / "data/messy/pngsuite"
    reasons = {path.name: refusal(path.read_bytes()) for path in folder.glob("png/*.png")}
    assert len(reasons) == 175
    assert {n for n, why in reasons.items() if why} == {n for n in reasons if n.startswith("x")}
    bitmaps = [refusal(path.read_bytes()) for path in folder.glob("bmp/*.bmp")]
    assert len(bitmaps) == 161 and sum(why is not None for why in bitmaps) < 10


@pytest.mark.parametrize("name", ["basn2c08", "basi2c08", "basn0g08", "basn3p08", "basn3p02"])
def test_pngsuite_pixels_equal_a_plain_conversion(shared, name):
    path = shared / f"data/messy/pngsuite/png/{name}.png"
    plain = np.asarray(Image.open(path).convert("RGB"))
    assert np.array_equal(np.asarray(decode(path.read_bytes(), 64)), plain)


@pytest.mark.parametrize("folder", ["pillow", "libjpeg_turbo"])
def test_hostile_files_are_decoded_or_refused_and_nothing_else(shared, folder):
    paths = [p for p in (shared / "data/messy" / folder).rglob("*") if p.is_file()]
    refused = [path for path in paths if refusal(path.read_bytes())]
    assert 1 <= len(refused) < len(paths) / 2


def test_a_naturally_dirty_data_set_decodes_whole(shared):
    paths = [p for label in ("yes", "no") for p in (shared / "data/brain_tumor" / label).iterdir()]
    assert len(paths) == 253
    assert not [path for path in paths if refusal(path.read_bytes())]
