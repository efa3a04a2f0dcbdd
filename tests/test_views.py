"""Views of one image: the same everywhere, and as far from the plain one as was asked for."""

import hashlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from test_images import noise

from tlearn.config import Augmentation
from tlearn.data.prefetch import prefetch_map
from tlearn.data.views import PAD_COLOUR, Rendering, to_square

NONE = Augmentation(flip=False, crop=1, colour=0, rotate=0)
RULES = ["crop", "squash", "pad"]


def gradient(width, height):
    """Red grows to the right, green grows downwards: a view shows where it was taken."""
    x = np.broadcast_to(np.linspace(0, 255, width)[None], (height, width))
    y = np.broadcast_to(np.linspace(0, 255, height)[:, None], (height, width))
    return Image.fromarray(np.stack([x, y, np.full_like(x, 128)], -1).astype(np.uint8))


def views(image, augment, resize="squash", n=60, size=32, content="abc"):
    rendering = Rendering(size, resize, augment)
    return [rendering.render(image, content, view) for view in range(1, n + 1)]


def span(view, channel):
    """Return how much of the gradient's range a view covers, from 0 to 1."""
    return np.ptp(view[..., channel].astype(float)) / 255


def test_view_0_is_plain_whatever_the_augmentation():
    image = noise(60, 40)
    before = image.tobytes()
    wild = Augmentation(flip=True, crop=0.1, colour=0.9, rotate=45)
    for resize in RULES:
        for augment in (NONE, Augmentation(), wild):
            plain = Rendering(24, resize, augment).render(image, "any", 0)
            assert np.array_equal(plain, to_square(image, 24, resize))
        if resize != "crop":  # without augmentation every view is plain
            for view in views(image, NONE, resize):
                assert np.array_equal(view, to_square(image, 32, resize))
        views(image, wild, resize, n=4)
    assert image.tobytes() == before


def test_the_key_says_what_the_pixels_depend_on():
    first, second = Rendering(24, "crop", NONE), Rendering(24, "crop", Augmentation())
    assert first.key(0) == second.key(0) == {"size": 24, "resize": "crop"}
    assert first.key(1) != second.key(1)
    assert first.key(1) == Rendering(24, "crop", NONE).key(2)  # the view's number is kept beside it
    assert first.key(0) != Rendering(32, "crop", NONE).key(0)
    assert first.key(0) != Rendering(24, "pad", NONE).key(0)


def test_views_are_reproduced_and_differ_from_each_other_and_from_the_plain_one():
    image = noise(60, 40)
    for resize in RULES:
        first, second = (views(image, Augmentation(rotate=20), resize, n=20) for _ in range(2))
        assert np.array_equal(first, second)
        shown = [to_square(image, 32, resize), *views(image, Augmentation(), resize, n=20)]
        assert len({view.tobytes() for view in shown}) == 21


def digest():
    shown = views(noise(60, 40), Augmentation(rotate=10), "crop", n=3)
    return hashlib.md5(np.stack(shown).tobytes()).hexdigest()


def test_the_content_hash_alone_seeds_the_views_in_another_process_too():
    first, second = (views(noise(60, 40), Augmentation(), n=8, content=c) for c in ("abc", "abd"))
    assert not any(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    done = subprocess.run(
        [sys.executable, "-c", "import test_views; print(test_views.digest())"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    assert done.stdout.strip() == digest()


def test_without_augmentation_crop_slides_a_full_square_along_the_image():
    shown = views(gradient(90, 30), NONE, "crop")
    assert all(span(view, 1) > 0.9 for view in shown)  # the whole height
    assert all(0.25 < span(view, 0) < 0.36 for view in shown)  # a third of the width
    assert min(view[..., 0].min() for view in shown) < 25
    assert max(view[..., 0].max() for view in shown) > 230


def test_flip_mirrors_about_half_of_the_views():
    image = noise(40, 40)
    plain = to_square(image, 32, "squash")
    shown = views(image, NONE.model_copy(update={"flip": True}), n=200)
    mirrored = sum(np.array_equal(view, plain[:, ::-1]) for view in shown)
    straight = sum(np.array_equal(view, plain) for view in shown)
    assert mirrored + straight == 200
    assert 70 <= mirrored <= 130
    shown = views(gradient(64, 64), Augmentation(flip=False, colour=0, rotate=15))
    assert all(view[16, -1, 0] > view[16, 0, 0] for view in shown)


def test_crop_bounds_the_area_that_is_seen():
    for crop, resize in itertools.product((0.2, 0.6, 0.9), RULES):
        augment = Augmentation(flip=False, crop=crop, colour=0)
        shown = views(gradient(128, 128), augment, resize, size=64)
        areas = [span(view, 0) * span(view, 1) for view in shown]
        if resize == "pad":  # what it shows is square here, so nothing is filled
            assert not any((view == PAD_COLOUR).all(-1).any() for view in shown)
        # Antialiasing and the gradient's steps take a little off what is seen.
        assert crop - 0.08 <= min(areas) < crop + 0.15
        assert 0.85 < max(areas) <= 1.0
        lefts = [view[..., 0].min() for view in shown]
        assert np.ptp(np.array(lefts, float)) > 0.3 * (1 - crop) * 255  # anywhere in the image


def test_pad_keeps_the_whole_part_and_fills_the_rest():
    for view in views(Image.new("RGB", (90, 30), (255, 0, 0)), Augmentation(colour=0), "pad"):
        filled = (view == PAD_COLOUR).all(-1)
        assert 0.5 < filled.mean() < 0.8
        assert filled[0].all() and filled[-1].all() and not filled[16].any()


def test_colour_changes_brightness_contrast_and_saturation_within_its_strength():
    grey = Image.new("RGB", (32, 32), (100, 100, 100))
    means = [v.mean() for v in views(grey, NONE.model_copy(update={"colour": 0.3}), n=100)]
    assert 69 <= min(means) < 80 and 120 < max(means) <= 131
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, :16], pixels[:, 16:] = (120, 80, 80), (60, 100, 100)
    shown = views(Image.fromarray(pixels), NONE.model_copy(update={"colour": 0.3}), n=100)
    saturation = [float(v[5, 5, 0]) - float(v[5, 5, 1]) for v in shown]
    assert 40 * 0.7**3 - 2 <= min(saturation) < 35 and 45 < max(saturation) <= 40 * 1.3**3 + 2


def test_colour_stays_between_black_and_white():
    strong = NONE.model_copy(update={"colour": 0.9})
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, 16:] = 255
    for view in views(Image.fromarray(pixels), strong):
        # Values that wrapped around would turn white black.
        assert view[:, 24:].mean() >= view[:, :8].mean()


def test_rotation_leaves_no_empty_corners_and_no_colour_the_values():
    for rotate, shape in itertools.product((5, 20, 45), ((64, 64), (90, 40), (37, 71))):
        image = Image.new("RGB", shape, (10, 200, 90))
        shown = views(image, Augmentation(colour=0, rotate=rotate), n=30)
        assert all((view == (10, 200, 90)).all() for view in shown)


def test_rotation_turns_to_both_sides_up_to_its_limit():
    for rotate in (10, 40):
        angles = []
        for view in views(gradient(100, 100), NONE.model_copy(update={"rotate": rotate}), n=80):
            red = view[..., 0].astype(float)
            down, right = (np.diff(red, axis=axis)[4:-4, 4:-4].mean() for axis in (0, 1))
            angles.append(np.degrees(np.arctan2(down, right)))
        assert -rotate - 2 < min(angles) < -rotate / 2
        assert rotate / 2 < max(angles) < rotate + 2


def test_extreme_shapes_keep_their_content():
    shapes = [(1, 1), (1, 5000), (5000, 1), (2, 3), (4, 400), (400, 4), (8, 5000), (3000, 12)]
    for shape, resize, rotate in itertools.product(shapes, RULES, (0, 45)):
        image = Image.new("RGB", shape, (200, 40, 40))
        for size in (1, 24, 31):
            augment = Augmentation(crop=0.05, colour=0, rotate=rotate)
            for view in range(6):
                pixels = Rendering(size, resize, augment).render(image, "abc", view)
                assert pixels.shape == (size, size, 3) and pixels.dtype == np.uint8
                near = (np.abs(pixels.astype(int) - (200, 40, 40)).sum(-1) < 9).any()
                assert near or size == 1


def test_work_ahead_keeps_the_order_and_its_bounds():
    started = []
    results = prefetch_map(lambda i: started.append(i) or i * i, range(100), depth=5)
    assert next(results) == 0
    assert set(started) <= set(range(6))
    assert list(results) == [i * i for i in range(1, 100)]
