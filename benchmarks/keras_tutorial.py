"""Keras's transfer-learning tutorial on given splits, as one process.

MobileNetV2 at 224 pixels, flip and rotation, a frozen base and a new head for ten epochs (Adam,
1e-4), then everything from layer 100 up for ten more (RMSprop, 1e-5); see
https://www.tensorflow.org/tutorials/images/transfer_learning. Another base, size, layer and number
of epochs can be asked for.
"""

import argparse
import csv
import json
import tempfile
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

BATCH, RATE = 32, 1e-4


def main() -> None:
    """Train, and print the accuracy on validation and test as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("splits", type=Path, help="splits.csv of a run on the same data")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backbone", default="MobileNetV2", help="a name in keras.applications")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--from", dest="layer", default="100", help="fine-tuned from there up")
    parser.add_argument("--epochs", type=int, default=10, help="of each phase")
    arguments = parser.parse_args()
    keras.utils.set_random_seed(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        lay_out(arguments.data, arguments.splits, Path(folder))
        datasets = {
            path.name: load(path, arguments, shuffle=path.name == "train")
            for path in sorted(Path(folder).iterdir())
        }
        classes = len(list((Path(folder) / "train").iterdir()))
        model = train(datasets, classes, arguments)
        accuracy = {
            split: model.evaluate(datasets[split], verbose=0)[1]
            for split in datasets
            if split != "train"
        }
    print(json.dumps(accuracy))


def lay_out(data: Path, splits: Path, folder: Path) -> None:
    """Make ``split/class/file`` links for the images of every split."""
    with splits.open(encoding="utf-8", newline="") as file:
        for i, row in enumerate(csv.DictReader(file)):
            source = (data / row["file"]).resolve()
            place = folder / row["split"] / row["class"]
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{i}{source.suffix.lower()}").symlink_to(source)


def load(folder: Path, arguments: Any, shuffle: bool) -> Any:
    """Return a prefetching data set of a folder of class folders."""
    images = keras.utils.image_dataset_from_directory(
        folder,
        image_size=(arguments.size, arguments.size),
        batch_size=BATCH,
        shuffle=shuffle,
        seed=arguments.seed,
        verbose=False,
    )
    return images.prefetch(tf.data.AUTOTUNE)


def train(datasets: dict[str, Any], classes: int, arguments: Any) -> Any:
    """Build the tutorial's model and train it in its two phases."""
    shape = (arguments.size, arguments.size, 3)
    weights = None if arguments.weights == "none" else arguments.weights
    build = getattr(keras.applications, arguments.backbone)
    base = build(input_shape=shape, include_top=False, weights=weights)
    base.trainable = False
    inputs = keras.Input(shape)
    x = keras.layers.RandomFlip("horizontal")(inputs)
    x = keras.layers.RandomRotation(0.2)(x)
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(x)
    x = base(x, training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.2)(x)
    model = keras.Model(inputs, keras.layers.Dense(classes)(x))
    fit(model, datasets, keras.optimizers.Adam(RATE), arguments.epochs)
    base.trainable = True
    names = [layer.name for layer in base.layers]
    layer = arguments.layer
    for frozen in base.layers[: int(layer) if layer.isdecimal() else names.index(layer) + 1]:
        frozen.trainable = False
    fit(model, datasets, keras.optimizers.RMSprop(RATE / 10), arguments.epochs)
    return model


def fit(model: Any, datasets: dict[str, Any], optimizer: Any, epochs: int) -> None:
    """Compile and fit one phase."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])
    model.fit(datasets["train"], epochs=epochs, validation_data=datasets["validation"], verbose=0)


if __name__ == "__main__":
    main()
