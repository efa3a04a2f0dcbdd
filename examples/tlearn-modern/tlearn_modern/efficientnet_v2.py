"""EfficientNetV2 (Tan and Le, 2021), in two sizes."""

from tlearn.backbones import Backbone, Blocks, Preprocess, hookimpl, keras_application

# The first block of a stage changes the size of the maps and has no shortcut around it.
STAGES = tuple(f"block{k}a_expand_conv" for k in (2, 3, 4, 5, 6))


def efficientnet_v2(name: str, function: str, size: int, boundaries: tuple[str, ...]) -> Backbone:
    """Return the facts about one size; ``boundaries`` are the first convolutions of its stages."""
    return keras_application(
        f"efficientnet_v2:{function}",
        name=name,
        summary="fused and plain inverted residuals with attention to channels",
        reference="Tan and Le, EfficientNetV2, arXiv:2104.00298",
        default_size=size,
        min_size=32,
        channels=1280,
        preprocess=Preprocess.NONE,  # it scales pixels itself, in its first layers
        blocks=Blocks.before(*boundaries, "top_conv"),
        finetune_from=boundaries[-1],
        feature_layers=("block6a_expand_activation", "top_activation"),
    )


@hookimpl
def tlearn_backbones() -> list[Backbone]:
    """Offer both."""
    small = ("block1a_project_conv", *STAGES)
    return [
        efficientnet_v2("efficientnet_v2_b0", "EfficientNetV2B0", 224, small),
        efficientnet_v2("efficientnet_v2_s", "EfficientNetV2S", 384, STAGES),
    ]
