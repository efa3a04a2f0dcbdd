"""What a saved model gives for the images of its run: probabilities and features."""

import numpy as np
import pytest

import tlearn
from tlearn.features.model_features import WIDTH, with_features
from tlearn.runs.classifier import Classifier
from tlearn.runs.measurement import outputs_of
from tlearn.runs.outputs import Outputs


def test_a_run_holds_the_outputs_of_its_images(toy_run):
    run = tlearn.Run(toy_run.run)
    outputs, splits = run.outputs(), run.dataset()
    for split, files in splits.items():
        part = outputs.of_split(split)
        assert part.files.tolist() == [file.name for file in files], split
        assert part.labels.tolist() == [file.label for file in files], split
    held_out = {p.file: p for p in run.held_out_predictions()}
    for name, p in zip(outputs.files, outputs.probabilities, strict=True):
        if name in held_out:
            assert p.max() == pytest.approx(held_out[name].probability, abs=1e-6)
    paths = [toy_run.photos / name for name in outputs.files[:5]]
    for row, (_, found) in enumerate(run.classifier.predict_with_features(paths)):
        np.testing.assert_allclose(found.probabilities, outputs.probabilities[row], atol=1e-6)
        np.testing.assert_allclose(found.features, outputs.features[row], rtol=2e-3, atol=1e-4)


def test_of_many_held_out_images_some_have_features(toy_run):
    run = tlearn.Run(toy_run.run)
    files, rows = run.dataset().validation, np.array([1, 4, 5])
    every, some = (outputs_of(run.classifier, files, rows=which) for which in (None, rows))
    np.testing.assert_array_equal(some.probabilities, every.probabilities)
    np.testing.assert_array_equal(some.features, every.features[rows])
    assert len(every.features) == len(files) > 6


def test_features_are_what_the_head_sees(photos, tmp_path, monkeypatch):
    """They are the same in memory as from the file, also of an average of two networks."""
    monkeypatch.setenv("TLEARN_CACHE", str(tmp_path / "cache"))
    options = {"backbone": "toy", "weights": "none", "views": 1, "quiet": True}
    features = []
    for stages in ([], [{"unfreeze": 1, "epochs": 2, "learning_rate": 1e-2}]):
        run = tlearn.finetune(photos, tmp_path / f"run{len(stages)}", stages=stages, **options)
        saved = Classifier.load(run.path / "model.keras")
        pixels = np.random.default_rng(0).integers(0, 256, (4, saved.size, saved.size, 3))
        first = with_features(saved.model)
        again = with_features(Classifier.load(run.path / "model.keras").model)
        for one, other in zip(first(pixels), again(pixels), strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(first(pixels)[0], saved.model(pixels))
        paths = [photos / name for name in run.outputs().files]
        found = [out for _, out in tlearn.Run(run.path).classifier.predict_with_features(paths)]
        for name in ("probabilities", "features"):
            now, then = (
                np.stack([getattr(out, name) for out in found]),
                getattr(run.outputs(), name),
            )
            np.testing.assert_allclose(now, then, rtol=1e-2, atol=1e-3, err_msg=name)
        features.append(run.outputs().features)
    alone, averaged = (f / np.linalg.norm(f, axis=2, keepdims=True) for f in features)
    assert alone.shape[1] == 1 and averaged.shape[1] == 2
    np.testing.assert_allclose(averaged[:, 0], alone[:, 0], atol=2e-3)  # before fine-tuning
    assert np.abs(averaged[:, 1] - alone[:, 0]).max() > 0.05  # after it


def test_projected_features_keep_their_distances():
    from tlearn.keras_import import keras

    pixels = keras.Input((8, 8, 3))
    flat = keras.layers.Flatten()(pixels)
    wide = keras.layers.Dense(2000)(flat)
    norm = keras.layers.BatchNormalization(name="standardise", trainable=False)(wide)
    model = keras.Model(pixels, keras.layers.Softmax()(keras.layers.Dense(3)(norm)))
    x = np.random.default_rng(0).normal(size=(40, 8, 8, 3))
    features = np.asarray(with_features(model)(x)[1])[:, 0]
    all_features = np.asarray(keras.Model(pixels, norm)(x))
    assert features.shape == (40, WIDTH)
    near, full = (np.linalg.norm(f[:, None] - f[None], axis=-1) for f in (features, all_features))
    different = ~np.eye(40, dtype=bool)
    ratio = near[different] / full[different]
    assert abs(ratio.mean() - 1) < 0.05 and ratio.std() < 2 / np.sqrt(2 * WIDTH)


def test_layers_of_a_model_may_have_the_names_that_keras_would_give_next():
    from tlearn.keras_import import keras

    pixels = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(pixels)
    for kind in (keras.layers.Reshape, keras.layers.Concatenate):
        unnamed = [kind((1,)) if kind is keras.layers.Reshape else kind() for _ in range(2)]
        stem, number = unnamed[-1].name.rsplit("_", 1)
        for following in range(1, 9):
            x = keras.layers.Activation("tanh", name=f"{stem}_{int(number) + following}")(x)
    each = []
    for prefix in ("", "member_1_"):
        y = keras.Input((192,))
        norm = keras.layers.BatchNormalization(name=f"{prefix}standardise", trainable=False)(y)
        each.append(keras.Model(y, norm, name=f"{prefix}head")(x))
    model = keras.Model(pixels, keras.layers.Add()(each))
    assert with_features(model)(np.ones((2, 8, 8, 3)))[1].shape == (2, 2, 192)


def test_a_model_without_such_a_head_has_its_probabilities_for_features():
    from tlearn.keras_import import keras

    pixels = keras.Input((8, 8, 3))
    p = keras.layers.Dense(3, "softmax")(keras.layers.Flatten()(pixels))
    probabilities, features = with_features(keras.Model(pixels, p))(np.ones((2, 8, 8, 3)))
    np.testing.assert_array_equal(probabilities, features[:, 0])


def test_a_damaged_file_is_named(toy_run_copy):
    run = tlearn.Run(toy_run_copy.run)
    whole = (run.path / "outputs.npz").read_bytes()
    for content in (b"", b"nothing", whole[: len(whole) // 2]):
        (run.path / "outputs.npz").write_bytes(content)
        with pytest.raises(tlearn.RunError, match=r"outputs\.npz of the run .* damaged") as caught:
            run.outputs()
        assert "pickle" not in str(caught.value)
    (run.path / "outputs.npz").unlink()
    with pytest.raises(tlearn.RunError, match="missing"):
        run.outputs()


def test_names_in_any_script_are_read_back():
    names = np.array(["猫/照片 1.jpg", "שלום/ב.jpg", "a" * 200])
    p = np.eye(3, dtype=np.float32)
    outputs = Outputs(names, names, names, p, p[:, None])
    assert Outputs.from_bytes(outputs.to_bytes()).files.tolist() == names.tolist()
    assert outputs.to_bytes() == outputs.to_bytes()
