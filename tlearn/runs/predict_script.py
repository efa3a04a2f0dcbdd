"""``predict.py`` beside an exported model: the functions that read photos for the run, in one file.

It needs no tlearn, so it is made of their sources, and a test has it answer what the run answers.
"""

from collections.abc import Callable
from inspect import getsource
from string import Template
from typing import Any

from tlearn import __version__
from tlearn.data import views
from tlearn.data.file_reading import content_hash
from tlearn.data.images import WHITE, on_white, to_rgb, upright
from tlearn.data.pixel_values import kind_of, strips, to_8_bits, values_of
from tlearn.runs.classifier import MIRROR

IMPORTS = "from tlearn.config import Augmentation, Resize\n"  # the last of the module of views

SCRIPT = Template('''\
"""Predict photos: python predict.py PHOTO...

Written by tlearn $version beside a model in the format $form. $needs
metadata.json has the classes, and how photos become the pixels that the model takes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageOps

FOLDER = Path(__file__).resolve().parent
METADATA = json.loads((FOLDER / "metadata.json").read_text(encoding="utf-8"))
LABELS, SIZE, RESIZE = METADATA["labels"], METADATA["size"], METADATA["resize"]
WHITE = $white
Box, Range, Kind, Resize = tuple, tuple, str, str  # what arguments are


$load


def read_photo(path: Path) -> Image.Image:
    """Return a photo as upright 8-bit RGB; a large JPEG is decoded at a smaller scale."""
    with Image.open(path) as image:
        image.draft(None, (2 * SIZE, 2 * SIZE))
        image.load()
        return to_rgb(upright(image), METADATA["ranges"].get(kind_of(image)))


$reading


def views_of(path: Path) -> np.ndarray:
    """Return what the model sees of a photo: uint8, RGB, (views, SIZE, SIZE, 3)."""
    image = read_photo(path)
$views


def main(names: list[str]) -> int:
    """Print the likeliest classes of each photo with their probabilities."""
    if not names:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        predict, failed = $loader(FOLDER), False
    except ImportError as error:
        print(f"{error}\\n\\n{__doc__}", file=sys.stderr)
        return 2
    for name in names:
        try:
            pixels = views_of(Path(name))
        except Exception as error:  # noqa: BLE001 - decoders raise nearly anything
            print(f"{name}: {error}", file=sys.stderr)
            failed = True
            continue
        p = predict(pixels).mean(axis=0)
        best = np.argsort(-p, kind="stable")[:3]
        print(name, *(f"{LABELS[i]} {p[i]:.6f}" for i in best), sep="\\t")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
''')

ONE = "    return to_square(image, SIZE, RESIZE)[None]"
WITH_MIRROR = """\
    plain = to_square(image, SIZE, RESIZE)
    return np.stack([plain, plain[:, ::-1]])"""
MANY = """\
    rendering = Rendering(SIZE, RESIZE, SimpleNamespace(**METADATA["augment"]))
    content = content_hash(path.read_bytes())
    views = [rendering.render(image, content, k) for k in range(METADATA["views"])]
    views[1] = views[0][:, ::-1]
    return np.stack(views)"""
FOR_MANY = (  # needed for augmented views alone
    "import hashlib\n",
    "import math\n",
    "from dataclasses import dataclass\n",
    "from types import SimpleNamespace\n",
)


def has_augmented_views(tta: int) -> bool:
    """Return whether there are views beside the plain one and its mirror image."""
    return tta > MIRROR + 1


def predict_script(form: str, load: Callable[..., Any], tta: int) -> str:
    """Return the source of ``predict.py``.

    Args:
        form: The name of the format.
        load: The loader of an :class:`tlearn.backbones.Exporter`.
        tta: Views of each image whose probabilities are averaged.
    """
    many = has_augmented_views(tta)
    reading: list[Any] = [upright, to_rgb, on_white, kind_of, to_8_bits, strips, values_of]
    if many:
        sources = [*map(getsource, [*reading, content_hash]), getsource(views).split(IMPORTS)[1]]
    else:
        sources = [
            *map(
                getsource,
                [*reading, views.to_square, views.box_of_square, views.pad, views.resample],
            )
        ]
        sources[-2] = sources[-2].replace("PAD_COLOUR", str(views.PAD_COLOUR))
    text = SCRIPT.substitute(
        version=__version__,
        form=form,
        needs=" ".join((load.__doc__ or "").split()),
        white=WHITE,
        load=getsource(load).strip(),
        loader=load.__name__,
        reading="\n\n\n".join(source.strip() for source in sources),
        views=MANY if many else WITH_MIRROR if tta > MIRROR else ONE,
    )
    for line in () if many else FOR_MANY:
        text = text.replace(line, "", 1)
    return text
