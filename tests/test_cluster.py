"""A Ray cluster of several nodes on this machine: same results, whatever is killed meanwhile."""

import contextlib
import importlib.metadata
import os
import pickle
import re
import signal
import socket
import subprocess
import sys

import numpy as np
import psutil
import pytest
from conftest import ROOT, draw_photos

import tlearn
from tlearn.backbones import load_registry
from tlearn.cli import main
from tlearn.cluster import ray_connection
from tlearn.config import Augmentation
from tlearn.data import file_reading
from tlearn.data.images import load_image
from tlearn.data.scan import scan
from tlearn.data.views import Rendering
from tlearn.errors import DataError
from tlearn.experiments import tuning_request
from tlearn.features import cluster_engine
from tlearn.features.activation_cache import Cache
from tlearn.features.activations import Activations
from tlearn.features.built_backbone import load_backbone
from tlearn.features.engines import Choice, outputs_of
from tlearn.features.engines.portable import PortableNetwork
from tlearn.features.image_views import ImageViews
from tlearn.progress import Silent

# Ray leaves files and sockets open.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
VIEWS = 2
EXACT = Choice("openvino", "float32")
STORE = 100 * 2**20  # bytes of the object store of a node
CLIENT = "ray_client_server_port"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two nodes of one processor each; this process is connected to the first."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ray_connection.QUIET.items():
            patch.setenv(name, value)
        patch.setenv("TLEARN_CACHE", str(tmp_path_factory.mktemp("workers")))
        patch.setenv("RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S", "300")  # on a busy machine
        import ray
        from ray.cluster_utils import Cluster

        free = socket.create_server(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        head = {"num_cpus": 1, "object_store_memory": STORE, CLIENT: port}
        head["_system_config"] = {"health_check_period_ms": 1000}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        cluster.client = f"ray://127.0.0.1:{port}"
        try:
            cluster.add_node(num_cpus=1, object_store_memory=STORE)
            ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


@pytest.fixture(scope="module")
def built():
    return load_backbone(load_registry().get("toy"), None, "none", 0)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return scan(draw_photos(tmp_path_factory.mktemp("many") / "photos", 24)).files


@pytest.fixture(scope="module")
def local(built, files, tmp_path_factory):
    """What this process computes."""
    return computed(built, files, tmp_path_factory.mktemp("local"))


class Killing(Silent):
    """Calls the next of some functions whenever results of a task are there."""

    def __init__(self, *kills):
        self._kills = iter(kills)

    def advance(self, n=1, note=""):
        next(self._kills, lambda: None)()


def computed(built, files, root, cluster="", kills=()):
    """Cache all outputs of two views of each image; return the rows of each output."""
    items = ImageViews.of(files, VIEWS)
    rendering = Rendering(32, "crop", Augmentation())
    boundaries = [built.boundaries[i] for i in (0, 2)]
    with Cache(root) as store:
        activations = Activations(
            built, rendering, boundaries, store, EXACT, Killing(*kills), cluster
        )
        assert activations.cache_missing(items) == len(items)
        assert not any(activations.missing(items, activations.outputs).values())
        return {name: activations.rows(items, name) for name in activations.outputs}


def assert_same(rows, others):
    assert list(rows) == list(others)
    for name, row in rows.items():
        np.testing.assert_array_equal(others[name], row)


def workers(name):
    """Return the processes of workers of the cluster that do something of this name."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [process] if "".join(process.cmdline()).startswith(f"ray::{name}") else []
    return found


def kill_worker(name):
    found = workers(name)
    assert found
    os.kill(found[0].pid, signal.SIGKILL)


def test_values_are_those_of_this_process(cluster, built, files, local, tmp_path):
    assert_same(local, computed(built, files, tmp_path, "ray"))


def test_many_files_are_read_there(cluster, tmp_path, monkeypatch):
    folder = draw_photos(tmp_path / "photos", 8)
    (folder / "red" / "broken.png").write_bytes(next(folder.rglob("*.png")).read_bytes()[:100])
    here = scan(folder, cluster=cluster.address)  # too few
    monkeypatch.setattr(file_reading, "MANY", 8)
    monkeypatch.delattr(file_reading, "prefetch_map")
    there = scan(folder, cluster=cluster.address)
    assert there == here and there.unreadable and len(there.files) == 24


@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
def test_a_network_that_is_sent_computes_the_same(built, files, engine):
    pixels = [load_image(file.path, 32, "crop") for file in files[:8]]
    choice, names = Choice(engine, "float32"), ("block3_conv", "features")
    network = PortableNetwork.of(choice, built.prefix, names, 32, outputs=names[1:])
    sent = pickle.loads(pickle.dumps(network)).engine(threads=1)
    (here,) = outputs_of(choice.engine_for(built.prefix, names, 32, outputs=names[1:]), pixels)
    (there,) = outputs_of(sent, pixels)
    np.testing.assert_array_equal(here, there)


def test_what_is_killed_is_computed_again(cluster, built, files, local, tmp_path):
    node = next(iter(cluster.worker_nodes))
    kills = [
        lambda: kill_worker("MapWorker"),
        lambda: cluster.remove_node(node, allow_graceful=False),
        lambda: kill_worker("_Driver"),
    ]
    try:
        assert_same(local, computed(built, files, tmp_path, "ray", kills=kills))
    finally:
        cluster.add_node(num_cpus=1, object_store_memory=STORE)


def test_a_photo_that_vanished_is_the_error_of_this_process(cluster, built, photos, tmp_path):
    files = scan(photos).files
    files[3].path.unlink()
    errors = []
    for address in ("", "ray"):
        with pytest.raises(DataError) as caught:
            computed(built, files, tmp_path / f"cache{address}", address)
        errors.append(str(caught.value))
    assert errors[0] == errors[1] and "changed since it was scanned" in errors[0]


def test_predictions_are_those_of_this_process(cluster, toy_run, tmp_path, capsys):
    photos = draw_photos(tmp_path / "new", 6, seed=1)
    (photos / "blue" / "broken.png").write_bytes(b"no photo")
    command = ["predict", str(toy_run.run), str(photos), "--format", "csv", "--tta", "3"]
    outputs = []
    for more in ([], ["--cluster", "ray"]):
        assert main([*command, *more]) == 0
        outputs.append(capsys.readouterr())
    assert outputs[0] == outputs[1]
    assert outputs[0].out.count("\n") == 20 and "cannot be read" in outputs[0].err


def test_a_client_of_ray_gets_the_same_features(cluster, photos, tmp_path):
    options = ["features", str(photos), "--backbone", "toy", "--weights", "none", "--pool", "none"]
    here, there = tmp_path / "here.npz", tmp_path / "there.npz"
    assert main([*options, "--out", str(here), "--quiet"]) == 0
    command = [sys.executable, "-m", "tlearn", *options, "--out", str(there)]
    done = subprocess.run(
        [*command, "--cluster", cluster.client, "--quiet"], cwd=ROOT, capture_output=True, text=True
    )
    assert not done.stderr and done.returncode == 0
    with np.load(here) as ours, np.load(there) as theirs:
        np.testing.assert_array_equal(ours["features"], theirs["features"])


def test_other_packages_on_a_node_are_refused(cluster, photos, tmp_path, monkeypatch, capsys):
    version = importlib.metadata.version
    for package, reason in {
        "numpy": "has 2.+ of the package 'numpy', this process 0.1; run there: pip install numpy==",
        "tlearn-toy": "of the package 'tlearn-toy', which has the backbone 'toy', this process 0.1",
    }.items():
        fake = lambda name, p=package: "0.1" if name == p else version(name)  # noqa: E731
        monkeypatch.setattr(importlib.metadata, "version", fake)
        cluster_engine._check_nodes.cache_clear()
        out = tmp_path / "run"
        command = ["finetune", str(photos), "--backbone", "toy", "--weights", "none"]
        assert main([*command, "--cluster", "ray", "--out", str(out), "--quiet"]) == 2
        line = capsys.readouterr().err
        assert re.search(reason, line) and line.count("\n") == 1
        assert not out.exists()


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nothing_listens_is_refused(scheme, photos, tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"{scheme}127.0.0.1:{free.getsockname()[1]}"
    out = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_connection, "_is_connected", lambda: False)
        command = ["finetune", str(photos), "--backbone", "toy", "--weights", "none"]
        assert main([*command, "--cluster", address, "--out", str(out), "--quiet"]) == 2
    line = capsys.readouterr().err
    assert "cannot be reached" in line and "ray start --head" in line and line.count("\n") == 1
    assert not out.exists()


def test_an_address_of_something_else_is_refused(photos, capsys, monkeypatch):
    monkeypatch.setattr(ray_connection, "_is_connected", lambda: False)
    monkeypatch.setattr(ray_connection, "SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"ray://127.0.0.1:{silent.getsockname()[1]}"
        assert main(["finetune", str(photos), "--cluster", address, "--quiet"]) == 2
    assert f"{address!r} is not Ray" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["slurm", "ray:", "http://host:1", "host", "ray://host:"])
def test_what_is_no_address_is_refused(text, photos, capsys):
    assert main(["finetune", str(photos), "--cluster", text]) == 2
    assert "cluster must be 'ray'" in capsys.readouterr().err.replace(": ", " ")


def test_trials_of_a_search_are_those_of_this_process(cluster, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("TLEARN_CACHE", str(tmp_path / "cache"))
    request = {"trials": 2, "tuner": "random", "repeats": 1, "quiet": True, "stages": "none"}
    request |= {"backbone": "toy", "weights": "none", "space": {"head.dropout": [0.0, 0.3, 0.5]}}
    searches = [
        tlearn.tune(photos, tmp_path / f"search{address}", cluster=address, **request)
        for address in ("", "ray")
    ]
    values, figures = (
        [[getattr(trial, name) for trial in search.trials] for search in searches]
        for name in ("values", "figures")
    )
    assert len(values[0]) == 3 and values[0] == values[1]
    for here, there in zip(*figures, strict=True):
        assert there == pytest.approx(here, rel=1e-3)
    assert tuning_request.read_request(searches[1].path).parallel == 2
