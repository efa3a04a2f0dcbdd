"""Checks of single photos: how they are stored, and whether anything can be seen on them.

What is dark, blurred or small in one data set is usual in another, such as scans of brains, photos
at night, or icons. Except for photos of one colour, a photo is therefore reported only if it is
beyond an absolute threshold and apart from the whole set, and from its class, as well. The
thresholds were chosen on five sets of 3,854 photos (flowers, clothing, brain scans, hand signs,
weather), and on the same photos darkened, brightened and blurred.
"""

import math
from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np

from tlearn.checks.finding import Finding
from tlearn.checks.measures import Measures, MeasureTable
from tlearn.data.columns import texts_of
from tlearn.data.edits import Change
from tlearn.data.file_table import FileTable
from tlearn.text import decode_name

DARK = 50  # of 255, that 5% exceed; in the five sets one photo has 48, another 51, all others 71
BRIGHT = 205  # of 255, that 95% exceed; the brightest of the five sets has 197
MIDDLE = 128  # what has darker ink on white, or lights on black, can be seen: a drawing, a moon
APART = 3  # times darker, brighter, smaller than the median
ONE_COLOUR = 3  # standard deviation; the least of the five sets is 15
PURE = 0.5  # the same of what is neither dark nor bright, but black, white or another colour alone
BLUR = 0.55  # of the blur effect; 0.2 to 0.4 is usual, skies and other smooth motifs have 0.6
BLUR_DEVIATIONS = 3  # robust standard deviations above the median
EDGE = 0.3  # and nothing in it is sharp: photos usually have 0.6 and more
ALONG = 0.12  # the same along a motion; usually 0.3 to 0.5
ALONG_DEVIATIONS = 3  # robust standard deviations of its logarithm below the median
SMEARED = 4  # times less sharp along a motion than is usual
DIRECTED = 2  # times sharper across a motion
LEAST = 64  # pixels of the shorter side: networks see 224
ASPECT = 3  # a phone's photo is 2.2, a panorama 3 and more
ENOUGH = 8  # photos of a class, to say what is usual in it
RARE = 0.1  # of the photos, in a way that others are not

ENDINGS = {
    "JPEG": ".jpg .jpeg .jpe .jfif .mpo",
    "MPO": ".jpg .jpeg .jpe .jfif .mpo",
    "PNG": ".png .apng",
    "GIF": ".gif",
    "BMP": ".bmp .dib",
    "DIB": ".dib .bmp",
    "TIFF": ".tif .tiff",
    "WEBP": ".webp",
    "AVIF": ".avif .avifs",
    "HEIF": ".heic .heif .hif",
    "JPEG2000": ".jp2 .j2k .jpc .jpf .jpx .j2c",
    "PPM": ".ppm .pgm .pbm .pnm .pfm",
    "ICO": ".ico",
    "QOI": ".qoi",
    "PCX": ".pcx",
    "SGI": ".sgi .rgb .rgba .bw",
    "DDS": ".dds",
}
MODES = {
    "1": "black and white alone, without greys",
    "P": "a palette of at most 256 colours",
    "PA": "a palette of at most 256 colours",
    "CMYK": "CMYK colours, which are for print",
    "LAB": "LAB colours",
    "YCbCr": "YCbCr colours",
    "HSV": "HSV colours",
}


def check_photos(files: FileTable, measures: MeasureTable) -> list[Finding]:
    """Return what is found on photos.

    Args:
        files: The photos, of which there is one at least.
        measures: Of each, in their order.
    """
    usual, labels = _Usual(measures), files.labels
    counts = np.bincount(labels.numbers, minlength=len(labels.texts))
    of_class = {
        int(k): _Usual(measures.part(labels.numbers == k)) for k in np.flatnonzero(counts >= ENOUGH)
    }
    findings: list[Finding] = []
    for name, label, photo in zip(
        texts_of(files.names), labels.numbers.tolist(), measures, strict=True
    ):
        own = _visibility(name, photo, of_class.get(label, usual))
        checks = {finding.check for finding in own}
        visibility = [f for f in _visibility(name, photo, usual) if f.check in checks]
        findings += [*_storage(name, photo, usual), *visibility]
        if not {finding.check for finding in visibility} & {"one colour", "dark", "bright"}:
            findings += _colour(name, photo, usual)
    return findings


class _Usual:
    """What is usual in a data set."""

    def __init__(self, photos: MeasureTable) -> None:
        def median(values: np.ndarray) -> float:
            return float(np.median(values))

        sides = np.array([photos.column("width"), photos.column("height")])
        self.dark, self.bright = (median(photos.column(name)) for name in ("dark", "bright"))
        self.side = median(sides.min(0))
        self.aspect = median(sides.max(0) / np.maximum(1, sides.min(0)))
        self.edge = median(photos.column("edge"))
        sharpness = np.log(photos.column("along") + 1e-3)
        along = median(sharpness)
        deviation = 1.4826 * median(np.abs(sharpness - along))
        # Where sky meets land, little is sharp along the horizon: rare in most sets, not in all.
        self.along = math.exp(along - max(ALONG_DEVIATIONS * deviation, math.log(SMEARED)))
        blur = median(photos.column("blur"))
        deviation = 1.4826 * median(np.abs(photos.column("blur") - blur))  # robust
        self.blur = blur + BLUR_DEVIATIONS * deviation
        self.modes = photos.modes()
        self.grey = float(photos.column("grey").mean())
        self.photos = len(photos)


def _aspect(photo: Measures) -> float:
    return max(photo.width, photo.height) / max(1, min(photo.width, photo.height))


def _storage(name: str, photo: Measures, usual: _Usual) -> Iterator[Finding]:
    """Check how a photo is stored."""
    suffix = PurePosixPath(decode_name(name)).suffix
    endings = ENDINGS.get(photo.format, suffix.lower()).split()
    if suffix.lower() not in endings:
        form = "JPEG" if photo.format == "MPO" else photo.format
        if suffix:
            reason = f"a {form} file whose name ends in {suffix}: other programs may not read it"
        else:
            reason = f"a {form} file whose name has no ending: other programs may not read it"
        yield Finding("wrong extension", (name,), reason, "note")
    if photo.several:
        reason = "an animation, or a file of several pages: the first picture alone is used"
        yield Finding("animated", (name,), reason, "note")
    if photo.turned:
        reason = "it is stored turned and set upright when it is read; other programs may not do so"
        yield Finding("EXIF-rotated", (name,), reason, "note")
    share = usual.modes[photo.mode] / usual.photos
    if photo.mode in MODES and share < RARE:
        reason = f"stored with {MODES[photo.mode]}, as few of the photos are"
        yield Finding("unusual mode", (name,), reason, "note", 1 - share)


def _colour(name: str, photo: Measures, usual: _Usual) -> Iterator[Finding]:
    """Check whether a photo has colour, as the others have or have not."""
    if photo.grey and usual.grey < RARE:
        reason = "without colour, as few of the photos are"
        yield Finding("grey", (name,), reason, "note", 1 - usual.grey)
    elif not photo.grey and usual.grey > 1 - RARE:
        yield Finding("colour", (name,), "in colour, as few of the photos are", "note", usual.grey)


def _visibility(name: str, photo: Measures, usual: _Usual) -> Iterator[Finding]:
    """Check whether anything can be seen on a photo; of what hides the rest that alone."""
    exclude = (Change(name, "exclude"),)
    side, aspect = min(photo.width, photo.height), _aspect(photo)
    size = f"{photo.width} x {photo.height} pixels"
    if side < LEAST and side * APART < usual.side:
        reason = f"{size}, where the shorter side of the photos usually has {usual.side:.0f}"
        yield Finding("tiny", (name,), reason, "warning", 1 - side / LEAST, exclude)
    if aspect > ASPECT and aspect > 2 * usual.aspect:
        reason = f"{size}: one side is {aspect:.1f} times as long as the other"
        yield Finding("extreme aspect", (name,), reason, "warning", aspect, exclude)
    one_colour = "nothing can be seen on it: it is of one colour"
    evenness = 1 - photo.spread / ONE_COLOUR
    if photo.spread < PURE:
        yield Finding("one colour", (name,), one_colour, "warning", evenness, exclude)
    elif photo.dark < min(DARK, usual.dark / APART) and photo.brightest < MIDDLE:
        reason = f"nearly black: 95% of it has at most {photo.dark:.0f} of 255 in brightness"
        yield Finding("dark", (name,), reason, "warning", 1 - photo.dark / DARK, exclude)
    elif photo.bright > max(BRIGHT, 255 - (255 - usual.bright) / APART) and photo.darkest > MIDDLE:
        reason = f"nearly white: 95% of it has at least {photo.bright:.0f} of 255 in brightness"
        yield Finding("bright", (name,), reason, "warning", photo.bright / 255, exclude)
    elif photo.spread < ONE_COLOUR:
        yield Finding("one colour", (name,), one_colour, "warning", evenness, exclude)
    elif (
        side >= LEAST
        and photo.blur > max(BLUR, usual.blur)
        and photo.edge < min(EDGE, usual.edge / 2)
    ):
        reason = "nothing in it is sharp: it is blurred, or enlarged from a small picture"
        yield Finding("blurred", (name,), reason, "warning", photo.blur, exclude)
    elif (
        side >= LEAST
        and photo.along < min(ALONG, usual.along)
        and photo.along * DIRECTED < photo.across
    ):
        reason = "nothing in it is sharp in one direction: it is blurred by a motion"
        score = 1 - photo.along / photo.across
        yield Finding("blurred", (name,), reason, "warning", score, exclude)
