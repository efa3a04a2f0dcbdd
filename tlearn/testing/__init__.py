"""The checks of a backbone: for pytest in its own package, and ``tlearn plugins check NAME``.

The whole test of a package is::

    from tlearn.testing import backbone_checks
    from my_package import BACKBONES

    @backbone_checks(*BACKBONES)
    def test_backbone(backbone, check):
        check(backbone)

Every check is a function of a backbone alone. It builds the backbone with random weights, so none
needs a network, and says in one sentence what is wrong.
"""

from tlearn.testing.check_runner import Outcome, backbone_checks, run_checks
from tlearn.testing.checks import CHECKS

__all__ = ["CHECKS", "Outcome", "backbone_checks", "run_checks"]
