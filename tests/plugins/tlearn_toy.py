"""A backbone small enough for tests: three blocks of convolution, normalisation, pooling."""

from tlearn.backbones import Backbone, Blocks, Preprocess, Weights, Workload, hookimpl


def build(input_shape, weights):
    import keras

    if weights == "faraway":
        raise OSError("URL fetch failure on https://weights.invalid: no network")
    size = input_shape[0]
    if size < 16:
        raise ValueError(f"Input size must be at least 16. Received: {size}")
    x = inputs = keras.Input(input_shape)
    for k, width in enumerate((8, 16, 24), start=1):
        x = keras.layers.Conv2D(width, 3, padding="same", name=f"block{k}_conv")(x)
        x = keras.layers.BatchNormalization(name=f"block{k}_bn")(x)
        x = keras.layers.ReLU(name=f"block{k}_relu")(x)
        x = keras.layers.MaxPooling2D(2, name=f"block{k}_pool")(x)
    model = keras.Model(inputs, x, name="toy")
    if weights is not None:
        model.load_weights(weights)
    return model


BACKBONE = Backbone(
    name="toy",
    summary="three tiny blocks, for tests",
    reference="none",
    build=build,
    default_size=32,
    min_size=16,
    channels=24,
    preprocess=Preprocess.TF,
    blocks=Blocks.before("block2_conv", "block3_conv"),
    weights=(Weights("faraway", "nowhere", "none", "nothing"),),
    finetune_from="block3_conv",
    feature_layers=("block3_relu",),
    workload=Workload(737_280, 221_184, 5064, 96, 1024),
)


@hookimpl
def tlearn_backbones():
    return BACKBONE
