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
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import fsspec
import numpy as np
import psutil
import pytest
from conftest import ROOT, TESTS, Heard, draw_photos, s3_variables
from ray_nodes import STORE, two_nodes
from serving import free_port
from waiting import Waiting

import tlearn
from tlearn.backbones import load_registry
from tlearn.cli import main
from tlearn.cluster import ray_connection, ray_stream
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
from tlearn.features.cache_table import CacheTable
from tlearn.features.engines import Choice, outputs_of
from tlearn.features.engines.portable import PortableNetwork
from tlearn.features.image_views import ImageViews
from tlearn.object_stores import as_path

# Ray leaves files and sockets open.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
VIEWS = 2
EXACT = Choice("openvino", "float32")
CLIENT = "ray_client_server_port"


@pytest.fixture(scope="module")
def cluster(s3_address, tmp_path_factory):
    """Two nodes of one processor each, which reach the S3 server.

    This process is connected to the first.
    """
    port = free_port()
    variables = s3_variables(s3_address) | {
        "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ["PYTHONPATH"]]),
        "TLEARN_CACHE": str(tmp_path_factory.mktemp("workers")),
        "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "300",  # on a busy machine
        # Else gRPC's handlers crash a server that is forked for a client, now and then.
        "GRPC_ENABLE_FORK_SUPPORT": "0",
    }
    head = {CLIENT: port, "_system_config": {"health_check_period_ms": 1000}}
    with two_nodes(variables, **head) as cluster:
        cluster.client = f"ray://127.0.0.1:{port}"
        yield cluster


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


class Killing(Heard):
    """Calls the next of some functions whenever results of a task are there."""

    def __init__(self, *kills):
        super().__init__()
        self._kills = iter(kills)

    def advance(self, n=1, note=""):
        next(self._kills, lambda: None)()


def opened(built, cache, progress=None, cluster=""):
    boundaries = [built.boundaries[i] for i in (0, 2)]
    rendering = Rendering(32, "crop", Augmentation())
    return Activations(built, rendering, boundaries, cache, EXACT, progress, cluster)


def computed(built, files, root, cluster="", progress=None, store=""):
    """Cache all outputs of two views of each image; return the rows of each output."""
    items = ImageViews.of(files, VIEWS)
    with Cache(root, store=store) as cache:
        activations = opened(built, cache, progress, cluster)
        assert activations.cache_missing(items) == len(items)
        return rows_of(activations, items)


def rows_of(activations, items):
    """Return the rows of each output, all of which are there."""
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


def wait_for_workers(number):
    until = time.monotonic() + 120
    while len(workers("MapWorker")) < number:
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_pool_grows_with_the_cluster(cluster, tmp_path, monkeypatch):
    """Ray looks for nodes every 20 seconds. Who waits meanwhile is told so."""
    monkeypatch.setattr(ray_stream, "WAIT_SECONDS", 0.1)
    said = []
    for node in set(cluster.worker_nodes):
        cluster.remove_node(node, allow_graceful=False)
    waiting, numbers = Waiting(tmp_path / "grown"), range(40)
    with ThreadPoolExecutor(1) as pool:
        shards = pool.submit(list, ray_stream.stream("ray", waiting, numbers, 5, say=said.append))
        wait_for_workers(1)
        cluster.add_node(num_cpus=1, object_store_memory=STORE)
        wait_for_workers(2)
        waiting.file.touch()
        assert [n for _, shard in shards.result() for n in shard] == list(numbers)
    (line,) = said
    assert re.match(
        r"waiting for workers of the cluster since [\d:]{8}: .* \d of \d are free", line
    )


def test_values_are_those_of_this_process_whatever_is_killed(
    cluster, built, files, local, tmp_path, monkeypatch
):
    monkeypatch.setattr(ray_stream, "PART", 2)
    progress = Killing(lambda: kill_worker("MapWorker"), lambda: kill_worker("_Driver"))
    store = f"memory://{tmp_path.name}"  # of this process: not what workers see there
    assert_same(local, computed(built, files, tmp_path, "ray", progress, store))
    # A busy machine takes long to start workers again, which is said, too.
    assert [line for line in progress.lines if not line.startswith("waiting for workers")] == [
        f"workers cannot write to the activation store {store!r} (it is not the same there): this "
        f"machine does, which is slower"
    ]


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


def test_a_photo_that_vanished_is_the_error_of_this_process(cluster, built, photos, tmp_path):
    files = scan(photos).files
    files[3].path.unlink()
    errors = []
    for address in ("", "ray"):
        with pytest.raises(DataError) as caught:
            computed(built, files, tmp_path / f"cache{address}", address)
        errors.append(str(caught.value))
    assert errors[0] == errors[1] and "changed since it was scanned" in errors[0]


def test_a_client_of_ray_gets_the_predictions_of_this_process(cluster, toy_run, tmp_path, capsys):
    photos = draw_photos(tmp_path / "new", 6, seed=1)
    (photos / "blue" / "broken.png").write_bytes(b"no photo")
    command = ["predict", str(toy_run.run), str(photos), "--format", "csv", "--tta", "3"]
    assert main(command) == 0
    here = capsys.readouterr()
    there = subprocess.run(
        [sys.executable, "-m", "tlearn", *command, "--cluster", cluster.client],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (there.stdout, there.stderr) == (here.out, here.err)
    assert here.out.count("\n") == 20 and "cannot be read" in here.err


def test_features_are_those_of_this_process(cluster, photos, tmp_path):
    options = ["features", str(photos), "--backbone", "toy", "--weights", "none", "--pool", "none"]
    here, there = tmp_path / "here.npz", tmp_path / "there.npz"
    assert main([*options, "--out", str(here), "--quiet"]) == 0
    assert main([*options, "--out", str(there), "--quiet", "--cluster", "ray"]) == 0
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


def test_photos_and_rows_are_in_a_store_and_a_node_is_lost(
    cluster, built, files, local, s3, tmp_path, monkeypatch
):
    bucket, node = s3(), next(iter(cluster.worker_nodes))
    fsspec.filesystem("s3").put(str(files.folder), f"{bucket}/photos", recursive=True)
    stored, rows = scan(as_path(f"{bucket}/photos")).files, f"{bucket}/rows"

    def remove_node():
        wait_for_workers(1)
        cluster.remove_node(node, allow_graceful=False)

    removing = threading.Thread(target=remove_node)
    removing.start()
    with monkeypatch.context() as patch:
        patch.delattr(CacheTable, "put")  # it is workers that write
        assert_same(local, computed(built, stored, tmp_path / "a", "ray", None, rows))
    removing.join()
    with Cache(tmp_path / "b", store=rows) as cache:  # of another machine
        assert_same(local, rows_of(opened(built, cache), ImageViews.of(files, VIEWS)))
