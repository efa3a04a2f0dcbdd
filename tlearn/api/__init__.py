"""The public functions: what the command line, the web page and notebooks call."""

from tlearn.api.comparing import compare
from tlearn.api.demonstrating import demo
from tlearn.api.extracting import features
from tlearn.api.publishing import export, report
from tlearn.api.resuming import resume
from tlearn.api.training import finetune

__all__ = ["compare", "demo", "export", "features", "finetune", "report", "resume"]
