"""Speed of the parts, each with what bounds it: engines, pipeline, feed, prediction."""

import statistics
import tempfile
from collections.abc import Iterable
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.common import SHARED, WEIGHTS, rate, seconds_of
from tlearn.backbones import load_registry
from tlearn.config import Augmentation, Head, Stage
from tlearn.data.scan import scan
from tlearn.data.views import Rendering
from tlearn.features.activation_cache import Cache
from tlearn.features.activations import Activations
from tlearn.features.built_backbone import FEATURES, BuiltBackbone, BuiltBoundary, load_backbone
from tlearn.features.engines import Choice, Engine, choose, outputs_of
from tlearn.features.image_views import ImageViews
from tlearn.features.precision import computing_in
from tlearn.runs.classifier import Classifier, save
from tlearn.training.compile import compile_for
from tlearn.training.costs import multiply_adds
from tlearn.training.feed import Feed
from tlearn.training.network import Network

VIEWS = 4


def loaded(name: str, weights: str) -> tuple[BuiltBackbone, BuiltBoundary]:
    """Return a backbone and the boundary from which fine-tuning usually pays."""
    built = load_backbone(load_registry().get(name), None, weights, 0)
    return built, next(b for b in built.boundaries if b.name == built.backbone.finetune_from)


def extraction(name: str) -> dict[str, Any]:
    """Measure views per second end to end beside the engine alone, and beside TensorFlow."""
    built, boundary = loaded(name, WEIGHTS if name == "mobilenet_v2" else "none")
    files = scan(SHARED / "data/flowers").files
    rendering = Rendering(built.size, "squash", Augmentation())
    result: dict[str, Any] = {"backbone": name, "pixels": built.size}
    with tempfile.TemporaryDirectory() as place, Cache(Path(place)) as cache:
        for label, choice in (
            ("tensorflow", Choice("tensorflow", "float32")),
            ("float32", Choice("openvino", "float32")),
            ("auto", choose()),
        ):
            activations = Activations(built, rendering, [boundary], cache, choice)
            engine = activations.engine((boundary.name, FEATURES))
            pixels = [view for f in files[:8] for view in activations.render(f, range(VIEWS))]
            result[label] = rate(partial(bare, engine, pixels))
        count = max(8, min(len(files), int(result["auto"] * 3 / VIEWS)))
        activations.cache_missing(ImageViews(files[-4:]))
        items = ImageViews.of(files[:count], VIEWS)
        seconds = []
        for _ in range(3):
            cache.clear()
            seconds.append(seconds_of(lambda: activations.cache_missing(items)))
    result["end_to_end"] = len(items) / statistics.median(seconds)
    every = frozenset(layer.name for layer in built.base.layers)
    result["gflop_per_image"] = 2 * multiply_adds(built, every) / 1e9
    bound = product_rate(choice.precision) / (2 * multiply_adds(built, every))
    result |= {
        "engine": str(choice),
        "end_to_end_of_bare": result["end_to_end"] / result["auto"],
        "end_to_end_of_tensorflow": result["end_to_end"] / result["tensorflow"],
        "bare_of_roofline": result["auto"] / bound,
    }
    return result


def bare(engine: Engine, pixels: list[np.ndarray]) -> int:
    """Run an engine over many images that are there already."""
    outputs_of(engine, list(islice(cycle(pixels), 2 * max(len(pixels), engine.batch))))
    return 2 * max(len(pixels), engine.batch)


def product_rate(precision: str) -> float:
    """Return operations per second of a large matrix product."""
    dtype = tf.bfloat16 if precision == "bfloat16" else tf.float32
    a = tf.cast(tf.random.normal((2048, 2048)), dtype)

    def product() -> int:
        tf.matmul(a, a).numpy()
        return 2 * 2048**3

    return rate(product, 0.5)


def feed_overhead() -> dict[str, Any]:
    """Measure training steps fed from the cache beside the same steps on one batch in memory."""
    built, boundary = loaded("mobilenet_v2", WEIGHTS)
    files = scan(SHARED / "data/flowers").files
    rendering = Rendering(built.size, "squash", Augmentation())
    network = Network(built, built.taps, 5, Head(), 0)
    network.freeze(built.layers_above(boundary))
    model = network.suffix(boundary)
    choice = choose()
    with (
        tempfile.TemporaryDirectory() as place,
        Cache(Path(place)) as cache,
        computing_in(choice.precision, model),
    ):
        activations = Activations(built, rendering, [boundary], cache, choice)
        activations.cache_missing(ImageViews.of(files, 2))
        feed = Feed(activations, boundary, network.columns_below(boundary), files, 2, 0)
        compile_for(model, Stage(unfreeze=boundary.name), 100)
        (first, rows), *_ = feed.epoch(0, 32)
        first = [x.astype(np.float32) for x in first]
        y, weight = np.eye(5, dtype=np.float32)[rows % 5], np.ones(len(rows), np.float32)
        model.train_on_batch(first, y, weight)
        steps = feed.steps(32)

        def train(epoch: Iterable[Any]) -> None:
            for inputs, _ in epoch:
                model.train_on_batch(inputs, y, weight)

        alone, fed = [], []
        for epoch in range(8):
            alone.append(seconds_of(partial(train, [(first, rows)] * steps)))
            fed.append(seconds_of(partial(train, feed.epoch(epoch, 32))))
    return {
        "step_ms": 1000 * statistics.median(alone) / steps,
        "fed_step_ms": 1000 * statistics.median(fed) / steps,
        "overhead": statistics.median(fed) / statistics.median(alone) - 1,
        "worst_epoch": max(fed) / statistics.median(alone) - 1,
    }


def prediction(count: int = 1000) -> dict[str, Any]:
    """Measure predicting photos from files beside ``model.predict`` with Keras's own loader."""
    built, _ = loaded("mobilenet_v2", WEIGHTS)
    network = Network(built, built.taps, 5, Head(), 0)
    photos = sorted((SHARED / "data").rglob("*.jpg"))
    paths = [p for p in photos if "messy" not in p.parts and "ood" not in p.parts][:count]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "photos" / "all"
        folder.mkdir(parents=True)
        for i, path in enumerate(paths):
            (folder / f"{i:05d}.jpg").symlink_to(path.resolve())
        model = Path(place) / "model.keras"
        save(network.whole, model, list("abcde"), built.size, "squash", built.backbone.name)
        classifier = Classifier.load(model)
        files = sorted(folder.iterdir())
        loader = keras.utils.image_dataset_from_directory(
            folder.parent,
            labels=None,
            image_size=(built.size, built.size),
            batch_size=32,
            shuffle=False,
            verbose=False,
        ).prefetch(tf.data.AUTOTUNE)
        list(classifier.predict(files[:64]))
        network.whole.predict(loader.take(2), verbose=0)
        ours, theirs = [], []
        for _ in range(3):
            ours.append(seconds_of(lambda: list(classifier.predict(files))))
            theirs.append(seconds_of(lambda: network.whole.predict(loader, verbose=0)))
    mine, other = (len(files) / statistics.median(seconds) for seconds in (ours, theirs))
    return {
        "photos": len(paths),
        "images_per_second": mine,
        "model_predict": other,
        "ratio": mine / other,
    }
