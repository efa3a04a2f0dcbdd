"""What tests share: a toy backbone found as a plugin, tiny photos, a run, the real photos."""

import contextlib
import gc
import json
import logging
import os
import shutil
import sys
import uuid
from pathlib import Path
from typing import NamedTuple

import hypothesis
import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from tlearn.backbones.plugin_sources import FOLDERS, use_folder
from tlearn.cli import main
from tlearn.progress import Silent
from tlearn.runs import charts as drawing

TESTS = Path(__file__).parent
ROOT = TESTS.parent
PLUGINS = TESTS / "plugins"

# The toy backbone is found through its distribution's entry point, as a stranger's package is.
sys.path.insert(0, str(PLUGINS))
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(PLUGINS), os.environ.get("PYTHONPATH")])
)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
WORKERS = 2
LONG = ("browser", "packaging", "slow")  # markers
if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores instead of fighting for them
    for threads in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(threads, str(max(1, (os.cpu_count() or 1) // WORKERS)))

# The same examples every time, however busy the machine is.
hypothesis.settings.register_profile("tlearn", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("tlearn")

COLOURS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (200, 50, 40)}


def pytest_xdist_auto_num_workers(config):
    """Use two processes for the whole suite, and one, which starts faster, for named tests."""
    named = config.args_source is config.ArgsSource.ARGS
    return 0 if named else min(WORKERS, os.cpu_count() or 1)


def pytest_collection_modifyitems(items):
    """Begin with what takes longest, so that no process waits for it at the end."""
    items.sort(key=lambda item: not any(map(item.get_closest_marker, LONG)))


def once(tmp_path_factory, name, make):
    """Have ``make(folder)`` fill a folder once in a session, whichever worker comes first."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # of all workers
    folder, complete = base / name, base / f"{name}.complete"
    with FileLock(base / f"{name}.lock"):
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)  # an attempt that failed
            folder.mkdir()
            make(folder)
            complete.touch()
    return folder


class Heard(Silent):
    """Remembers what is said."""

    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


class Counted(Heard):
    """Counts what is done in all tasks, too."""

    done = 0

    def advance(self, n=1, note=""):
        self.done += n


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
    """Give every test an activation cache of its own, and no folders of plugins of other tests."""
    folder = tmp_path_factory.mktemp("cache") / "cache"
    monkeypatch.setenv("TLEARN_CACHE", str(folder))
    monkeypatch.setenv(FOLDERS, "")
    return folder


@pytest.fixture(autouse=True, scope="module")
def collected():
    """Collect what the modules before left behind, and look at what stays of them no more.

    Else whatever collects garbage takes ever longer: TensorFlow keeps much of each model.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def warm_cache(tmp_path_factory, monkeypatch):
    """Share the activations and compiled networks of tests of this process, which train alike."""
    monkeypatch.setenv("TLEARN_CACHE", str(tmp_path_factory.getbasetemp() / "warm cache"))


DRAWN: dict[str, dict[str, bytes]] = {}  # pictures of charts, by the charts without their data


def without_data(chart):
    """Return a chart without the rows that it shows."""
    if isinstance(chart, dict):
        return {key: without_data(item) for key, item in chart.items() if key != "values"}
    return [without_data(item) for item in chart] if isinstance(chart, list) else chart


@pytest.fixture(autouse=True)
def charts(request, monkeypatch):
    """Draw a chart once for all data: it takes a sixth of a training here.

    Where its content matters, the marker ``charts`` has each drawn, as those of shared runs are.
    """
    draw = drawing._draw

    def draw_form(chart):
        form = json.dumps(without_data(chart), sort_keys=True)
        if form not in DRAWN:
            DRAWN[form] = draw(chart)
        return DRAWN[form]

    if not request.node.get_closest_marker("charts"):
        monkeypatch.setattr(drawing, "_draw", draw_form)


@pytest.fixture(scope="session")
def s3_address():
    """The address of an S3 server on this machine."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # which prints every request
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def s3_variables(address):
    """Return the usual variables that name an S3 server."""
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@pytest.fixture
def s3(s3_address, monkeypatch):
    """Have the usual variables name the S3 server; give a function that makes a bucket."""
    import boto3
    import s3fs

    for name, value in s3_variables(s3_address).items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()

    def bucket():
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        boto3.client("s3").create_bucket(Bucket=name)
        return f"s3://{name}"

    yield bucket
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def plugin_file(tmp_path):
    """Write a single-file plugin into a folder that is in use; return the folder."""
    folder = tmp_path / "plugins"
    folder.mkdir()

    def write(name, text):
        (folder / f"{name}.py").write_text(text)
        use_folder(folder)
        return folder

    return write


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


@pytest.fixture
def parts(tmp_path):
    """A folder of a training and a validation folder."""
    for seed, split in enumerate(("train", "val")):
        draw_photos(tmp_path / "parts" / split, 4, seed=seed)
    return tmp_path / "parts"


def make_run(place, *options):
    """Train on small pictures below ``place``, with a cache there; return run, photos, cache."""
    photos, run, cache = draw_photos(place / "photos"), place / "run", place / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLEARN_CACHE", str(cache))
        assert main(["finetune", str(photos), *options, "--out", str(run), "--quiet"]) == 0
    return run, photos, cache


TOY = ("--backbone", "toy", "--weights", "none", "--stages", "1:1", "--seed", "5")


class ToyRun(NamedTuple):
    """A finished training with the toy backbone.

    Attributes:
        run: The run directory.
        photos: The data folder: three classes of twelve pictures.
        cache: The activation cache that it filled.
    """

    run: Path
    photos: Path
    cache: Path


def contents(folder):
    """Return the size and the time of change of every file in a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory):
    """A toy run that all tests of the session share; nothing may be written into it."""
    place = once(tmp_path_factory, "toy_run", lambda folder: make_run(folder, *TOY))
    toy = ToyRun(place / "run", place / "photos", place / "cache")
    before = contents(toy.run) | contents(toy.photos)
    yield toy
    after = contents(toy.run) | contents(toy.photos)
    assert after == before, "a test changed the shared toy run: use toy_run_copy there"


@pytest.fixture
def toy_run_copy(toy_run, tmp_path):
    """A copy of the toy run and its photos in ``tmp_path``, the test's own.

    The configuration that the run holds still names the photos of the original.
    """
    run = Path(shutil.copytree(toy_run.run, tmp_path / "runs" / "toy"))
    photos = tmp_path / "toy photos"
    return ToyRun(run, Path(shutil.copytree(toy_run.photos, photos)), toy_run.cache)


@pytest.fixture(scope="module")
def copied_run(toy_run, tmp_path_factory):
    """The toy run, opened, in a folder that tests of a module may write into."""
    import tlearn

    return tlearn.Run(shutil.copytree(toy_run.run, tmp_path_factory.mktemp("copied") / "run"))


@pytest.fixture
def service(toy_run_copy):
    """Return a function that starts a web service of the toy run and others, and gives a client."""
    from fastapi.testclient import TestClient

    from tlearn.serving.app import make_app
    from tlearn.serving.model_store import ModelStore
    from tlearn.serving.server_settings import ServerSettings

    with contextlib.ExitStack() as stack:

        def start(*others, **settings):
            app = make_app(ModelStore([toy_run_copy.run, *others]), ServerSettings(**settings))
            return stack.enter_context(TestClient(app, raise_server_exceptions=False))

        yield start


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The roots of a test of the pages; a page waits for what it shows, and starts no process."""
    # Here, as other tests need no Streamlit.
    from tlearn.runs.job_queue import JobQueue
    from tlearn.web import data_process
    from tlearn.web.components import scans
    from tlearn.web.workspace import DATA, RUNS, Workspace

    monkeypatch.setenv(DATA, str(tmp_path / "photos"))
    monkeypatch.setenv(RUNS, str(tmp_path / "runs"))
    monkeypatch.setattr(scans, "AT_ONCE", 600)
    monkeypatch.setattr(scans, "SOON", 600)
    for name in ("run", "run_apart"):
        monkeypatch.setattr(data_process, name, lambda progress, do, *args: do(progress, *args))
    monkeypatch.setattr(JobQueue, "wake", lambda self: None)
    # A page would look for components in all installed packages: a second for every test.
    scanner = "streamlit.components.v2.manifest_scanner.scan_component_manifests"
    monkeypatch.setattr(scanner, list)
    main = sys.modules["__main__"]  # Streamlit puts the page in its place, and leaves it there
    yield Workspace.from_environment()
    sys.modules["__main__"] = main


@pytest.fixture(scope="module")  # while it runs, no other event loop can
def browser():
    """Chromium, which tests of the page in it share."""
    from browser import ARGUMENTS, chromium
    from playwright import sync_api

    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def context(browser):
    """A browser with nothing remembered, on a large screen."""
    from browser import LOCALE

    size = {"width": 1280, "height": 860}
    context = browser.new_context(locale=LOCALE, permissions=["camera"], viewport=size)
    yield context
    context.close()


@pytest.fixture
def server(tmp_path, cache):
    """A server with an empty data root, and with paced trainings."""
    from browser import write_pace_plugin
    from serving import Server

    (tmp_path / "data").mkdir()
    write_pace_plugin(tmp_path)
    disabled = {"TLEARN_DISABLE_PLUGINS": "efficientnet_lite,vgg19,inception_v3,xception"}
    server = Server.ui(tmp_path, env=disabled)
    server.env["PYTHONPATH"] += os.pathsep + str(tmp_path)
    with server:
        yield server
    log = server.runs / ".page.log"  # where a page that broke says so
    assert not (log.exists() and log.read_text()), log.read_text()


@pytest.fixture
def tab(server, context):
    from browser import Tab

    with Tab(server, context) as tab:
        yield tab
