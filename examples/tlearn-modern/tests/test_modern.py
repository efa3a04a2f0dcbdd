"""What tlearn relies on holds for these backbones."""

from tlearn_modern import convnext, densenet, efficientnet_v2, resnet_v2

from tlearn.testing import backbone_checks

EFFICIENTNET_V2_B0, _ = efficientnet_v2.tlearn_backbones()  # the other differs in size alone


@backbone_checks(EFFICIENTNET_V2_B0, convnext.BACKBONE, resnet_v2.BACKBONE, densenet.BACKBONE)
def test_backbone(backbone, check):
    check(backbone)
