"""What people do with plain Keras, on given splits: each baseline as one process.

``plain`` is Keras's transfer-learning tutorial: MobileNetV2 at 224 pixels, flip and rotation, a
frozen base and a new head for ten epochs (Adam, 1e-4), then everything from layer 100 up for ten
more (RMSprop, 1e-5); see https://www.tensorflow.org/tutorials/images/transfer_learning.

``linear`` is scikit-learn's logistic regression with its defaults on average-pooled top features.

``onecycle`` is what ``vision_learner(...).fine_tune(5)`` of fastai does (Howard and Gugger,
arXiv:2002.04688): its head, augmentation, one epoch of the head at 2e-3, then five of everything at
1e-3, the base at a hundredth of that; the one-cycle policy of rates (Smith, arXiv:1803.09820) and
decoupled weight decay. Left out are warping and the cycle of the momentum; the whole photo is
squeezed into the square, as for the others; batches are of 32, as fastai's 64 take 6 GB of memory.

Another base, size, layer and number of epochs can be asked for.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlearn.csv_files import csv_rows
from tlearn.runs.predictions import HeldOutPrediction, held_out_csv

Load = Callable[..., Any]  # of a split and whether to shuffle: a data set
Predict = Callable[[Any], np.ndarray]  # of a data set: probabilities (n, classes)

BATCH = 32
RATE = 1e-4  # of the tutorial
CYCLE = 2e-3  # highest rate of the one-cycle policy, with a frozen base


def main() -> None:
    """Train, and write the predictions for validation and test as tlearn does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("baseline", choices=BASELINES)
    parser.add_argument("data", type=Path)
    parser.add_argument("splits", type=Path, help="splits.csv of a run on the same data")
    parser.add_argument("predictions", type=Path, help="the table to write")
    parser.add_argument("--weights", default="imagenet", help="a file, or none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backbone", default="MobileNetV2", help="a name in keras.applications")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--from", dest="layer", default="100", help="plain: tuned from there up")
    parser.add_argument("--epochs", type=int, help="of each phase")
    arguments = parser.parse_args()
    keras.utils.set_random_seed(arguments.seed)
    rows = csv_rows(arguments.splits.read_text(encoding="utf-8"))
    labels = sorted({row["class"] for row in rows})
    with tempfile.TemporaryDirectory() as folder:
        lay_out(rows, labels, arguments.data, Path(folder))
        load = partial(load_split, Path(folder), arguments)
        predict = BASELINES[arguments.baseline](load, len(labels), arguments)
        table = [
            prediction
            for split in sorted({row["split"] for row in rows} - {"train"})
            for prediction in predictions(load(split), predict, rows, labels)
        ]
    arguments.predictions.write_text(held_out_csv(table), encoding="utf-8")


def lay_out(rows: list[dict[str, str]], labels: list[str], data: Path, folder: Path) -> None:
    """Make links ``split/class number/row.jpg`` for the images of every split, of any format."""
    for split in {row["split"] for row in rows}:
        for number in range(len(labels)):
            (folder / split / f"{number:05}").mkdir(parents=True)
    for i, row in enumerate(rows):
        place = folder / row["split"] / f"{labels.index(row['class']):05}"
        (place / f"{i}.jpg").symlink_to((data / row["file"]).resolve())


def load_split(folder: Path, arguments: Any, split: str, shuffle: bool = False) -> Any:
    """Return the data set of one split: pixels from 0 to 255 and class numbers."""
    return keras.utils.image_dataset_from_directory(
        folder / split,
        image_size=(arguments.size, arguments.size),
        batch_size=BATCH,
        shuffle=shuffle,
        seed=arguments.seed,
        verbose=False,
    )


def predictions(
    images: Any, predict: Predict, rows: list[dict[str, str]], labels: list[str]
) -> Iterable[HeldOutPrediction]:
    """Yield the predictions for the images of a split, which are links named by their rows."""
    for path, p in zip(images.file_paths, predict(images.prefetch(2)), strict=True):
        row = rows[int(Path(path).stem)]
        yield HeldOutPrediction(
            file=row["file"],
            split=row["split"],
            label=row["class"],
            predicted=labels[int(p.argmax())],
            probability=float(p.max()),
            probability_of_label=float(p[labels.index(row["class"])]),
        )


def build_base(arguments: Any) -> Any:
    """Return the convolutional base, for pixels from -1 to 1."""
    build = getattr(keras.applications, arguments.backbone)
    weights = None if arguments.weights == "none" else arguments.weights
    shape = (arguments.size, arguments.size, 3)
    return build(input_shape=shape, include_top=False, weights=weights)


def probabilities(model: Any, images: Any) -> np.ndarray:
    """Return what a model that gives logits predicts."""
    return np.asarray(keras.ops.softmax(model.predict(images, verbose=0)))


def plain(load: Load, classes: int, arguments: Any) -> Predict:
    """Build the tutorial's model and train it in its two phases."""
    base = build_base(arguments)
    base.trainable = False
    inputs = keras.Input(base.input_shape[1:])
    x = keras.layers.RandomFlip("horizontal")(inputs)
    x = keras.layers.RandomRotation(0.2)(x)
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(x)
    x = base(x, training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.2)(x)
    model = keras.Model(inputs, keras.layers.Dense(classes)(x))
    train, validation = load("train", shuffle=True).prefetch(2), load("validation").prefetch(2)

    def fit(optimizer: Any) -> None:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, loss, metrics=["accuracy"])
        epochs = arguments.epochs or 10
        model.fit(train, epochs=epochs, validation_data=validation, shuffle=False, verbose=0)

    fit(keras.optimizers.Adam(RATE))
    base.trainable = True
    names = [layer.name for layer in base.layers]
    layer = arguments.layer
    for frozen in base.layers[: int(layer) if layer.isdecimal() else names.index(layer) + 1]:
        frozen.trainable = False
    fit(keras.optimizers.RMSprop(RATE / 10))
    return partial(probabilities, model)


def linear(load: Load, classes: int, arguments: Any) -> Predict:
    """Fit a logistic regression to the pooled features of the photos as they are."""
    from sklearn.linear_model import LogisticRegression  # of the extra "test", for this alone

    base = build_base(arguments)
    inputs = keras.Input(base.input_shape[1:])
    x = base(keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs), training=False)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    train = load("train")
    y = [int(Path(path).parent.name) for path in train.file_paths]
    regression = LogisticRegression(max_iter=1000).fit(model.predict(train, verbose=0), y)
    return lambda images: np.asarray(regression.predict_proba(model.predict(images, verbose=0)))


def onecycle(load: Load, classes: int, arguments: Any) -> Predict:
    """Build fastai's model, train its head, then everything."""
    base = build_base(arguments)
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9  # of PyTorch; 0.999 of Keras follows too slowly for a few epochs
    inputs = keras.Input(base.input_shape[1:])
    features = base(keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs))
    pooled = [
        keras.layers.GlobalAveragePooling2D()(features),
        keras.layers.GlobalMaxPooling2D()(features),
    ]
    head = keras.Sequential(
        [
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.Dropout(0.25),
            keras.layers.Dense(512, "relu", use_bias=False, kernel_initializer="he_normal"),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(classes, use_bias=False, kernel_initializer="he_normal"),
        ]
    )
    model = keras.Model(inputs, head(keras.layers.Concatenate()(pooled)))
    augment = keras.Sequential(
        [
            keras.layers.RandomFlip("horizontal"),
            keras.layers.RandomRotation(10 / 360),
            keras.layers.RandomZoom((-0.1, 0.0)),
            keras.layers.RandomBrightness(0.1),
            keras.layers.RandomContrast(0.2),
        ]
    )
    train = load("train", shuffle=True)
    full = train.take(max(1, len(train.file_paths) // BATCH))
    batches = full.map(lambda x, y: (augment(x, training=True), y), tf.data.AUTOTUNE).prefetch(2)
    base.trainable = False
    one_cycle(model, [(head, CYCLE)], batches, 1, 0.99, 25)
    base.trainable = True
    groups = [(base, CYCLE / 200), (head, CYCLE / 2)]
    one_cycle(model, groups, batches, arguments.epochs or 5, 0.3, 5)
    return partial(probabilities, model)


def one_cycle(
    model: Any, groups: list[tuple[Any, float]], batches: Any, epochs: int, rise: float, low: float
) -> None:
    """Train groups of layers, each at a rate of its own that rises and falls.

    Args:
        model: Gives logits.
        groups: Layers with their highest rate.
        batches: The images of an epoch.
        epochs: Number of epochs.
        rise: Fraction of the steps for which the rates rise.
        low: The highest rate over the first.
    """
    total = epochs * int(batches.cardinality())
    optimizers = []
    for _ in groups:
        optimizer = keras.optimizers.AdamW(weight_decay=0.01, beta_2=0.99, epsilon=1e-5)
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        optimizers.append(optimizer)
    variables = [group.trainable_variables for group, _ in groups]

    def step(x: Any, y: Any) -> None:
        with tf.GradientTape() as tape:
            logits = model(x, training=True)
            loss = keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
            loss = tf.reduce_mean(loss)
        values = [[v.value for v in group] for group in variables]
        for optimizer, group, slopes in zip(
            optimizers, variables, tape.gradient(loss, values), strict=True
        ):
            optimizer.apply(slopes, group)

    compiled = tf.function(step)
    for number, (x, y) in enumerate(batches.repeat(epochs)):
        done = number / total
        if done < rise:
            part = 1 / low + (1 - 1 / low) * (1 - np.cos(np.pi * done / rise)) / 2
        else:
            part = (1 + np.cos(np.pi * (done - rise) / (1 - rise))) / 2
        for optimizer, (_, rate) in zip(optimizers, groups, strict=True):
            optimizer.learning_rate = rate * part
        compiled(x, y)


BASELINES: dict[str, Callable[[Load, int, Any], Predict]] = {
    "plain": plain,
    "linear": linear,
    "onecycle": onecycle,
}

if __name__ == "__main__":
    main()
