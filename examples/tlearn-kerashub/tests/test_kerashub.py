"""What tlearn relies on holds for DINOv2."""

from tlearn_kerashub import tlearn_backbones

from tlearn.testing import backbone_checks


@backbone_checks(tlearn_backbones()[0])
def test_backbone(backbone, check):
    check(backbone)
