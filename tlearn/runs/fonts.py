"""Fonts for names in any script: those that are installed, where the usual one lacks a letter."""

from collections.abc import Iterable
from functools import cache

from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager, get_font
from matplotlib.text import Text

USUAL = "DejaVu Sans"  # comes with matplotlib
# Plain faces that look well beside it and hold many scripts are asked first.
PREFERRED = (
    "Noto Sans CJK",
    "Noto Sans",
    "WenQuanYi",
    "Microsoft YaHei",
    "PingFang",
    "Hiragino",
    "Malgun",
    "Segoe UI",
    "Arial Unicode",
    "Unifont",
    "Droid Sans Fallback",
)


def suit(figure: Figure) -> None:
    """Have every text of a figure drawn in fonts that hold its letters, as far as installed."""
    texts: list[Text] = list(figure.findobj(Text))
    for axes in figure.axes:
        texts += [*axes.get_xticklabels(), *axes.get_yticklabels()]
    lacking = {char for text in texts for char in text.get_text()} - _letters(_path(USUAL))
    lacking = {char for char in lacking if not char.isspace()}
    if lacking:
        families = [USUAL, *_covering(lacking)]
        for text in texts:
            text.set_fontfamily(families)


def _covering(lacking: Iterable[str]) -> list[str]:
    """Return installed families that together hold as many of the letters as there are."""
    left, found = set(lacking), []
    for name, path in _installed():
        here = left & _letters(path)
        if here:
            found.append(name)
            left -= here
        if not left:
            break
    return found


@cache
def _installed() -> list[tuple[str, str]]:
    """Return the upright regular fonts of this machine, those that are preferred first."""
    fonts = {
        entry.name: entry.fname
        for entry in fontManager.ttflist
        if entry.style == "normal" and str(entry.weight) in ("400", "normal", "regular")
    }

    def rank(name: str) -> tuple[int, str]:
        place = next((i for i, start in enumerate(PREFERRED) if name.startswith(start)), 99)
        return place, name

    return [(name, fonts[name]) for name in sorted(fonts, key=rank)]


def _path(family: str) -> str:
    return next(entry.fname for entry in fontManager.ttflist if entry.name == family)


@cache
def _letters(path: str) -> frozenset[str]:
    """Return the letters that a font holds; a file that is none holds none."""
    try:
        return frozenset(map(chr, get_font(path).get_charmap()))
    except (OSError, RuntimeError):
        return frozenset()
