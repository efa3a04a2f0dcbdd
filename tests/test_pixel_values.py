"""Images of more than 8 bits: one rule for a whole data set and for what its model predicts."""

import base64
import struct

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin
from test_images import chunk, encode, noise, png

import tlearn
from tlearn.data.images import decode, examining
from tlearn.data.pixel_values import DEFAULT_RANGES, ValueRanges
from tlearn.data.scan import scan


def values(top, low=0, seed=0):
    """Return a ramp that reaches both ends, in a shuffled order."""
    ramp = np.linspace(low, top, 32 * 32)
    return np.random.default_rng(seed).permutation(ramp).reshape(32, 32)


def png16(array, bits=None):
    data = encode(Image.fromarray(array.astype(np.uint16)), "PNG")
    if bits is None:
        return data
    end = 8 + 25  # the signature and IHDR
    return data[:end] + chunk(b"sBIT", bytes([bits])) + data[end:]


def tiff(array, lowest=None, highest=None):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    if highest is not None:
        tags[340], tags[341] = lowest, highest
        kind = 12 if array.dtype == np.float32 else 3 if lowest >= 0 else 8
        tags.tagtype[340] = tags.tagtype[341] = kind
    return encode(Image.fromarray(array), "TIFF", tiffinfo=tags)


def grey(data, **options):
    return np.asarray(decode(data, 8, **options))[..., 0].astype(int)


def expected(array, low, high):
    return np.rint((np.clip(array, low, high) - low) / (high - low) * 255)


def put(root, **files):
    for name, data in files.items():
        label, _, rest = name.partition("_")
        path = root / label / rest
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def ranges(root):
    return {file.name: file.ranges for file in scan(root).files}


def test_significant_bits_count_where_a_png_says_so():
    array = np.rint(values(4095))
    assert np.array_equal(grey(png16(array, bits=12)), expected(array, 0, 4095))
    assert grey(png16(array)).mean() < 10  # by itself it says nothing: 16 bits
    array = np.rint(values(255))
    assert np.array_equal(grey(png16(array, bits=8)), array)


def test_values_shifted_up_as_the_standard_has_it_are_known():
    array = np.rint(values(4095)).astype(np.uint16)
    for shifted in (array << 4, array << 4 | array >> 8, (array >> 4) << 4):
        assert np.array_equal(grey(png16(shifted, bits=12)), expected(shifted, 0, 65535))


def test_the_smallest_and_largest_sample_values_of_a_tiff_count():
    array = np.rint(values(3900)).astype(np.uint16)
    assert np.array_equal(grey(tiff(array, 0, 3900)), expected(array, 0, 4095))
    array = np.rint(values(3000, -1000)).astype(np.int32)
    assert np.array_equal(grey(tiff(array, -1000, 3000)), expected(array, -1024, 4095))
    array = values(37.5, 2.5).astype(np.float32)
    assert np.abs(grey(tiff(array, 2.5, 37.5)) - expected(array, 2.5, 37.5)).max() <= 1


def test_sample_values_that_are_wrong_or_say_nothing_do_not_count():
    array = np.rint(values(4000)).astype(np.uint16)
    for highest in (1000, 65535):
        assert np.array_equal(grey(tiff(array, 0, highest)), expected(array, 0, 65535))


RANGES = [  # values of a set, their type, and the values that become black and white
    (values(4000), np.uint16, 0, 4095),  # 12 bits in 16
    (values(1000), np.uint16, 0, 1023),
    (values(200), np.uint16, 0, 255),  # 8 bits in 16
    (values(60000), np.uint16, 0, 65535),
    (values(3000, -1000), np.int32, -1024, 4095),  # computed tomography
    (values(255), np.int32, 0, 255),
    (values(100000), np.int32, 0, 131071),
    (values(1), np.float32, 0, 1),
    (values(1.01), np.float32, 0, 1),
    (values(1, -1), np.float32, -1, 1),
    (values(250), np.float32, 0, 255),
    (values(4000), np.float32, 0, 4095),
    (values(3000, -1000), np.float32, -1024, 4095),
]


def test_all_images_of_a_set_have_the_range_that_they_need_together(tmp_path):
    for array, form, low, high in RANGES:
        full = array.astype(form)
        dark = np.where(full < full.max() / 8, full, np.array(low, form))
        put(tmp_path, a_1=tiff(full), a_2=tiff(dark), b_1=tiff(full[::-1]), b_2=tiff(dark.T))
        manifest = scan(tmp_path)
        [needed] = {file.ranges for file in manifest.files}
        assert (needed.float_range if form == np.float32 else needed.integer_range) == (low, high)
        pixels = {f.name: grey(f.path.read_bytes(), ranges=f.ranges) for f in manifest.files}
        assert np.abs(pixels["a/1"] - expected(full, low, high)).max() <= 1
        assert np.abs(pixels["a/2"] - expected(dark, low, high)).max() <= 1  # never stretched alone
        [problem] = [p for p in manifest.problems if p.kind == "pixels"]
        assert f"from {low:g} to {high:g}" in problem.reason and "3 more" in problem.reason


def test_integers_and_floats_of_a_set_have_ranges_of_their_own(tmp_path):
    integers, floats = np.rint(values(4000)).astype(np.uint16), values(1).astype(np.float32)
    put(tmp_path, a_1=tiff(integers), b_1=tiff(floats), a_2=encode(noise(8, 8), "PNG"))
    both = ValueRanges((0, 4095), (0, 1))
    assert ranges(tmp_path) == {"a/1": both, "b/1": both, "a/2": DEFAULT_RANGES}
    assert len([p for p in scan(tmp_path).problems if p.kind == "pixels"]) == 2


def test_a_file_of_a_set_that_says_what_it_has_keeps_it(tmp_path):
    small, large = np.rint(values(4000)), np.rint(values(60000))
    put(tmp_path, a_1=png16(small, bits=12), b_1=png16(large))
    found = ranges(tmp_path)
    assert found["a/1"].integer_range == (0, 65535)
    assert np.array_equal(
        grey(png16(small, bits=12), ranges=found["a/1"]), expected(small, 0, 4095)
    )


def test_a_picture_to_look_at_alone_shows_all_it_has():
    array = np.rint(values(4000))
    assert np.array_equal(grey(png16(array), ranges=None), expected(array, 0, 4095))
    with examining(encode(noise(8, 8), "PNG"), 8) as examined:
        assert examined[:2] == (None, "")


def test_colours_of_16_bits_are_read_at_8_and_noted():
    row = b"\0" + struct.pack(">3H", 65535, 32768, 0)
    data = png(1, 1, 16, 2, row)
    assert np.asarray(decode(data, 1))[0, 0].tolist() == [255, 128, 0]
    with examining(data, 1) as examined:
        assert "upper 8" in examined.note


def test_what_a_model_predicts_is_read_as_what_it_was_trained_on(tmp_path):
    rng = np.random.default_rng(0)
    for label, top in (("dark", 1000), ("light", 4000)):
        for i in range(12):
            array = rng.uniform(0, top, (24, 24))
            put(tmp_path / "data", **{f"{label}_{i}.png": png16(np.rint(array))})
    options = {"backbone": "toy", "weights": "none", "size": 32, "preset": "quick", "quiet": True}
    run = tlearn.finetune(tmp_path / "data", tmp_path / "run", **options)
    assert run.classifier.ranges == ValueRanges((0, 4095), (0, 1))
    path = tmp_path / "data/light/0.png"
    pixels = tlearn.load_image(path, 32, "squash", integer_range=(0, 4095))
    assert pixels.mean() > 100 > tlearn.load_image(path, 32).mean()
    probabilities = run.model.predict(pixels[None], verbose=0)[0]
    [found] = run.predict([path])
    assert found.probability == pytest.approx(float(probabilities.max()), abs=0.02)
    assert {p["kind"] for p in run.problems()} == {"pixels"}
    assert run.metrics["validation"]["accuracy"] == 1


def test_the_size_of_an_image_has_a_limit_that_can_be_set(monkeypatch):
    data = encode(Image.new("L", (2000, 1000)), "PNG")
    monkeypatch.setenv("TLEARN_MAX_MEGAPIXELS", "1.5")
    with pytest.raises(tlearn.DataError, match=r"2000 x 1000 pixels, more than the 1\.5 mega"):
        decode(data, 8)
    monkeypatch.setenv("TLEARN_MAX_MEGAPIXELS", "2")
    assert decode(data, 8).size == (2000, 1000)
    monkeypatch.setenv("TLEARN_MAX_MEGAPIXELS", "many")
    with pytest.raises(tlearn.ConfigError, match=r"number of megapixels.*'many'"):
        decode(data, 8)


def test_a_jpeg_counts_by_what_it_is_decoded_to(monkeypatch):
    monkeypatch.setenv("TLEARN_MAX_MEGAPIXELS", "0.5")
    image = Image.new("RGB", (2000, 1000))
    assert decode(encode(image, "JPEG"), 64).size == (500, 250)
    with pytest.raises(tlearn.DataError, match=r"more than the 0\.5 mega"):
        decode(encode(image, "JPEG", progressive=True), 64)


def test_a_jpeg_of_200_megapixels_is_decoded():
    data = encode(Image.new("L", (20000, 10000), 90), "JPEG")
    image = decode(data, 224)
    assert image.size == (2500, 1250) and image.getpixel((9, 9)) == (90, 90, 90)


def test_a_png_needs_only_what_its_pixels_need(tmp_path):
    data, plain = encode(noise(8, 8), "PNG"), np.asarray(noise(8, 8))
    cut_off = chunk(b"cHRM", b"\0" * 7)
    wrong = [b"sPLT" + b"palette\0\x08", b"eXIf" + b"II*\0", b"tRNS" + b"\0" * 6]  # checksums
    for part in (
        chunk(b"zTXt", b"Comment\0\x07whatever"),  # a method of compression that is unknown
        cut_off,
        chunk(b"iCCP", b"profile"),
        chunk(b"gAMA", b""),
        *(chunk(text[:4], text[4:])[:-4] + b"\0\0\0\0" for text in wrong),
    ):
        hurt = data[:33] + part + data[33:]
        assert np.array_equal(np.asarray(decode(hurt, 8)), plain)
        with examining(hurt, 8) as examined:
            note = examined.note
        assert not note or "damaged outside the pixels" in note
        assert "Error" not in note  # says what is wrong, not a class of Python
        pixels = data.index(b"IDAT") + 9
        with pytest.raises(tlearn.DataError, match="damaged"):
            decode(hurt[: 33 + len(part)] + data[33:pixels] + b"\0\0" + data[pixels + 2 :], 8)
    hurt = data[:33] + cut_off + data[33:]
    manifest = scan(put(tmp_path, a_1=hurt, b_1=encode(noise(8, 8, seed=1), "PNG")))
    assert len(manifest.files) == 2
    assert [(p.name, p.kind) for p in manifest.problems] == [("a/1", "pixels")]


HEIC = """
AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAA
AAAAAAAAACJpbG9jAAAAAERAAAEAAQAAAAABoQABAAAAAAAAAEgAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABo
dmMxAAAAAA5waXRtAAAAAAABAAAA/WlwcnAAAADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEA
GEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAA
AwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAAB
AAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEHBpeGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAAFBt
ZGF0AAAARCgBrxmA71aR0Bqd4MBxuJcu/S1nBRTPa/lRx41DSgq9DNXAzMFPQtopo9+LiKUhWoUEURICr5wtZyfefXC4
t+GIf0FA
"""


def test_heic_photos_are_read(tmp_path):
    """A gradient of 64 by 48, as a phone would encode it."""
    photo = base64.b64decode(HEIC)
    pixels = np.asarray(decode(photo, 64)).astype(float)
    assert pixels.shape == (48, 64, 3)
    expected = np.linspace(0, 255, 64)
    assert np.abs(pixels[:, :, 0] - expected).mean() < 5
    put(tmp_path, a_1=photo, a_2=photo[:300], b_1=encode(noise(8, 8), "PNG"))
    manifest = scan(tmp_path)
    assert [file.name for file in manifest.files] == ["a/1", "b/1"]
    assert "damaged" in manifest.problems[0].reason
