"""Names in any script, in pictures."""

import pytest
from matplotlib.font_manager import fontManager

from tlearn.runs import fonts, plots

CHINESE = [name for name, path in fonts._installed() if {"猫", "郁"} <= fonts._letters(path)]


def families(labels):
    figure = plots.confusion([[2, 1], [0, 3]], labels, "test")
    plots.rendered(figure)
    return {tuple(label.get_fontfamily()) for label in figure.axes[0].get_yticklabels()}


def test_the_usual_font_is_kept_where_it_holds_every_letter():
    assert families(["Löwenzahn", "кот"]) == {("sans-serif",)}


@pytest.mark.skipif(not CHINESE, reason="no font with Chinese letters is installed")
def test_another_font_is_asked_for_letters_that_it_lacks():
    (found,) = families(["猫", "郁金香"])
    assert found[0] == fonts.USUAL and set(found[1:]) & set(CHINESE)
    assert {font.name for font in fontManager.ttflist} >= set(found)


def test_letters_that_no_font_holds_do_no_harm():
    (found,) = families(["\U000e0021", "dog"])
    assert found[0] == fonts.USUAL


def test_a_file_that_is_no_font_holds_nothing(tmp_path):
    file = tmp_path / "a.ttf"
    file.write_bytes(b"no font")
    assert not fonts._letters(str(file))
