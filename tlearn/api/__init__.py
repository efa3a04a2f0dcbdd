"""The public functions: what the command line, the web page and notebooks call."""

from tlearn.api.comparing import compare
from tlearn.api.extracting import features
from tlearn.api.publishing import export, report
from tlearn.api.training import demo, finetune

__all__ = ["compare", "demo", "export", "features", "finetune", "report"]
