"""Workers that Ray Train starts on a cluster train one network, whoever of them is killed."""

import contextlib
import pickle
import shutil

import numpy as np
import pytest
from conftest import TOY, Counted, Heard, draw_photos
from ray_nodes import two_nodes
from test_workers import CONFIG

import tlearn
from tlearn.cli import main
from tlearn.errors import ConfigError, DataError
from tlearn.progress import Silent
from tlearn.runs.directory import RunDirectory
from tlearn.runs.progress_log import LoggedProgress, ProgressReader
from tlearn.settings import make_config
from tlearn.training import cluster_training
from tlearn.training.cluster_training import resources_each

# Ray leaves files and sockets open.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
# Ends a process, as a machine that fails does, in the second epoch of the second stage, once.
FATAL = """
import os, pathlib, signal
import keras

class Fatal(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch == 3

    def on_train_batch_begin(self, batch, logs=None):
        if self.now and batch == 1 and '"index": 1' in os.environ.get("TF_CONFIG", ""):
            mark = pathlib.Path({mark!r})
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)

callbacks = [Fatal()]
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two nodes of one processor each; this process is connected to the first."""
    variables = {
        "TLEARN_CACHE": str(tmp_path_factory.mktemp("workers")),
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    }
    with two_nodes(variables) as cluster:
        yield cluster


def test_a_stage_goes_on_after_a_worker_was_killed(cluster, tmp_path):
    """And ends with the model of one process that nothing interrupted."""
    photos, mark = draw_photos(tmp_path / "photos"), tmp_path / "killed"
    (tmp_path / "fatal.py").write_text(FATAL.format(mark=str(mark)))
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.format(callbacks=tmp_path / "fatal.py"))
    one = tlearn.finetune(photos, tmp_path / "one", config=config, quiet=True)
    assert not mark.exists()
    shown = Heard()
    both = tlearn.finetune(
        photos, tmp_path / "two", config=config, progress=shown, cluster="ray", workers=2
    )
    assert mark.exists()
    assert "continuing in stage 'top 1 block' after 1 epoch of it" in shown.lines
    assert both.record["config"]["workers"] == 2
    assert {path.name for path in both.path.iterdir()} == {p.name for p in one.path.iterdir()}
    numbers = one.history.select_dtypes("number").columns
    np.testing.assert_allclose(both.history[numbers], one.history[numbers], rtol=1e-3, atol=1e-6)
    for a, b in zip(both.model.get_weights(), one.model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)


def test_an_error_that_would_come_again_ends_the_training(cluster, photos, tmp_path):
    """A worker reports it, and does nothing where Ray Train starts it again."""
    import ray

    config = make_config(options={"backbone": "toy", "weights": "none"})
    run = RunDirectory.create(tmp_path / "run", config, photos)
    shutil.rmtree(photos)
    group = cluster_training._group_actor(ray)
    job = cluster_training._Job(str(run.path), {}, "", 2, {"CPU": 1})
    settings, begun = {"group": group, "job": pickle.dumps(job)}, group.begun.remote()
    assert not ray.wait([begun], timeout=0.5)[0]  # until then it is said that workers are awaited
    with pytest.raises(DataError, match="are no longer in"):
        cluster_training._train(settings)
    ray.get(begun, timeout=60)
    assert ray.get(group.has_ended.remote())
    events = (run.path / "events.jsonl").read_text()
    assert cluster_training._train(settings) is None
    assert (run.path / "events.jsonl").read_text() == events
    ray.kill(group)


def test_workers_that_end_again_and_again_are_named():
    """Without what Ray says of its objects."""
    error = RuntimeError("Training failed")
    error.worker_failures = {1: RuntimeError("A worker health check failed. Worker info: Worker(")}
    text = str(cluster_training._repeated(error))
    assert "ended 6 times, the last time worker 1; look at 'ray status'" in text
    assert "Training failed" in str(cluster_training._repeated(RuntimeError("Training failed")))


def test_more_workers_than_processors_are_refused(cluster, photos, tmp_path, capsys):
    out = tmp_path / "run"
    command = ["finetune", str(photos), *TOY, "--cluster", "ray", "--workers", "3"]
    assert main([*command, "--out", str(out), "--quiet"]) == 2
    assert "has 2 processors, and 3 workers need one each" in capsys.readouterr().err
    assert not out.exists()


class Nodes:
    """Stands for Ray's module, connected to nodes with so many processors and GPUs."""

    def __init__(self, *sizes):
        self._sizes = [{"CPU": cpus, **({"GPU": gpus} if gpus else {})} for cpus, gpus in sizes]

    def nodes(self):
        every = enumerate(self._sizes)
        names = {"NodeManagerHostname": "host", "Alive": True}
        return [{**names, "NodeID": str(k), "Resources": size} for k, size in every]


@pytest.mark.parametrize(
    ("sizes", "workers", "each"),
    [
        ([(8, 0), (8, 0)], 2, {"CPU": 8}),
        ([(8, 0), (8, 0)], 3, {"CPU": 4}),
        ([(8, 0), (4, 0)], 3, {"CPU": 4}),
        ([(2, 0), (1, 0)], 3, {"CPU": 1}),
        ([(16, 4), (16, 4)], 2, {"CPU": 16, "GPU": 4}),
        ([(16, 4), (16, 4)], 4, {"CPU": 8, "GPU": 2}),
        ([(16, 1), (16, 1), (64, 0)], 2, {"CPU": 16, "GPU": 1}),
        ([(16, 1), (16, 0)], 2, {"CPU": 16}),
    ],
)
def test_workers_share_what_there_is(sizes, workers, each):
    assert resources_each(Nodes(*sizes), workers) == each


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"cluster": ""}, "2 workers are those of a cluster, and none is given"),
        ({"callbacks": [object()]}, "callbacks and training steps of Python do not reach workers"),
        ({"train_step": lambda model, data: {}}, "callbacks and training steps of Python"),
        ({"out": "s3://bucket/run"}, "'s3://bucket/run' is in a store"),
    ],
)
def test_what_workers_cannot_have_is_refused(photos, options, reason):
    given = {"backbone": "toy", "weights": "none", "cluster": "ray", "workers": 2, "quiet": True}
    with pytest.raises(ConfigError, match=reason):
        tlearn.finetune(photos, **(given | options))


def test_progress_of_another_process_is_shown(tmp_path):
    shown, other = Counted(), LoggedProgress(tmp_path, Silent())
    with contextlib.closing(ProgressReader(tmp_path, shown)) as reader:
        reader.show()
        other.say("once")
        with other.task("training", 9, "steps") as task:
            task.advance(4)
            reader.show()
            task.advance(5)
        reader.show()
        reader.show()
        assert (shown.lines, shown.done) == (["once"], 9)
        LoggedProgress(tmp_path, Silent()).say("again")  # of a process that was started again
        reader.show()
        assert shown.lines == ["once", "again"]
