"""What tests share: a toy backbone found as a plugin, tiny photo folders, the real photos."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlearn.backbones.plugin_sources import forget_folders, use_folder
from tlearn.cli import main
from tlearn.progress import Silent

TESTS = Path(__file__).parent
ROOT = TESTS.parent
PLUGINS = TESTS / "plugins"

# The toy backbone is found through its distribution's entry point, as a stranger's package is.
sys.path.insert(0, str(PLUGINS))
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(PLUGINS), os.environ.get("PYTHONPATH")])
)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

COLOURS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (200, 50, 40)}


class Heard(Silent):
    """Remembers what is said."""

    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def shared_folder() -> Path:
    """Return the folder of real photos and weights that may stand beside the checkout."""
    return Path(os.environ.get("TLEARN_SHARED", ROOT.parent / "shared"))


@pytest.fixture(scope="session")
def shared():
    folder = shared_folder()
    if not folder.is_dir():
        pytest.skip(f"real photos and weights are not at {folder} (set TLEARN_SHARED)")
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Give every test an activation cache of its own."""
    folder = tmp_path_factory.mktemp("cache") / "cache"
    monkeypatch.setenv("TLEARN_CACHE", str(folder))
    return folder


@pytest.fixture
def plugin_file(tmp_path):
    """Write a single-file plugin into a folder that is in use; return the folder."""
    folder = tmp_path / "plugins"
    folder.mkdir()

    def write(name, text):
        (folder / f"{name}.py").write_text(text)
        use_folder(folder)
        return folder

    yield write
    forget_folders()


def picture(colour, rng, size=(40, 36)):
    """Return a noisy picture of about this colour."""
    noise = rng.normal(0, 45, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8))


def draw_photos(folder, per_class=12, classes=("blue", "green", "red"), seed=0):
    """Make class folders of small noisy pictures."""
    for k, label in enumerate(classes):
        (folder / label).mkdir(parents=True)
        for i in range(per_class):
            rng = np.random.default_rng((seed, k, i))
            picture(COLOURS[label], rng).save(folder / label / f"{label}{i:02d}.png")
    return folder


@pytest.fixture(scope="session")
def photo_template(tmp_path_factory):
    return draw_photos(tmp_path_factory.mktemp("template") / "photos")


@pytest.fixture
def photos(photo_template, tmp_path):
    """A folder of three classes of twelve pictures, the test's own."""
    return Path(shutil.copytree(photo_template, tmp_path / "photos"))


def make_run(place, *options):
    """Train on small pictures below ``place``, with a cache there; return run, photos, cache."""
    photos, run, cache = draw_photos(place / "photos"), place / "run", place / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLEARN_CACHE", str(cache))
        assert main(["finetune", str(photos), *options, "--out", str(run), "--quiet"]) == 0
    return run, photos, cache
