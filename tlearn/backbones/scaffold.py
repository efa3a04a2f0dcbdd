"""Writes a new plugin package, complete and correct, for its author to change."""

import importlib.util
import re
from pathlib import Path
from string import Template

from tlearn import __version__
from tlearn.atomic import atomic_directory
from tlearn.errors import PluginError, os_errors_as

FILES = {
    "pyproject.toml": """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "$package"
version = "0.1.0"
description = "The backbone $name for tlearn."
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["tlearn>=$version"]

[project.optional-dependencies]
test = ["pytest"]

# This line is how tlearn finds the plugin.
[project.entry-points.tlearn]
$name = "$module"

[tool.setuptools]
py-modules = ["$module"]
""",
    "$module.py": '''\
"""The backbone $name: MobileNet (Howard et al., 2017), for you to change."""

from tlearn.backbones import Backbone, Blocks, Preprocess, hookimpl, keras_application

# A network of keras.applications. For any other, make a Backbone with a function that builds it:
# see the guide for plugin authors.
BACKBONE = keras_application(
    "mobilenet:MobileNet",
    name="$name",
    summary="depthwise separable convolutions: small and fast",
    reference="Howard et al., MobileNets, arXiv:1704.04861",
    file="mobilenet_1_0_224_tf_no_top.h5",  # where Keras keeps the weights
    default_size=224,
    min_size=32,
    channels=1024,  # of the output
    preprocess=Preprocess.TF,  # pixels from -1 to 1
    # The boundaries: layers at which exactly one tensor passes, upwards. Only names that are the
    # same on every build; 'tlearn layers $name' lists them.
    blocks=Blocks.after(*(f"conv_pw_{k}_relu" for k in range(1, 13))),
    finetune_from="conv_pw_9_relu",  # fine-tuning usually pays from here upwards
    feature_layers=("conv_pw_11_relu", "conv_pw_13_relu"),
)


@hookimpl
def tlearn_backbones() -> Backbone:
    """Offer it to tlearn."""
    return BACKBONE
''',
    "tests/test_$name.py": '''\
"""What tlearn relies on holds for $name."""

from tlearn.testing import backbone_checks

from $module import BACKBONE


@backbone_checks(BACKBONE)
def test_backbone(backbone, check):
    check(backbone)
''',
    "README.md": """\
# $package

The backbone `$name` for [tlearn](https://pypi.org/project/tlearn/).

    pip install $package
    tlearn finetune photos --backbone $name

## Working on it

    pip install -e '.[test]'
    tlearn plugins check $name
    pytest

To publish it: `pip install build`, `python -m build`, and upload what is in `dist/`.
""",
}


def new_plugin(name: str, folder: Path | None = None) -> Path:
    """Write a package with one backbone that passes all checks.

    Args:
        name: The backbone's name.
        folder: The folder to make; ``tlearn-NAME`` if not given.

    Returns:
        The folder.

    Raises:
        PluginError: If the name cannot be one or its module's is taken, or the folder exists or
            cannot be written.
    """
    if not re.fullmatch(r"[a-z]([a-z0-9_]*[a-z0-9])?", name):  # valid in a package's name
        raise PluginError(
            f"a backbone's name has lower case letters, digits and underscores, begins with a "
            f"letter and does not end with an underscore. Received: {name!r}"
        )
    package, module = f"tlearn-{name.replace('_', '-')}", f"tlearn_{name}"
    if importlib.util.find_spec(module):
        raise PluginError(f"there is a module called {module!r} already; choose another name")
    values = {"name": name, "package": package, "module": module, "version": __version__}
    folder = folder or Path(package)
    if folder.exists():
        raise PluginError(f"{str(folder)!r} cannot be made: it exists; choose another --out")
    what = f"{str(folder)!r} cannot be written"
    with (
        os_errors_as(PluginError, what, "choose another --out"),
        atomic_directory(folder) as temporary,
    ):
        for path, text in FILES.items():
            file = temporary / Template(path).substitute(values)
            file.parent.mkdir(exist_ok=True)
            file.write_text(Template(text).substitute(values), encoding="utf-8")
    return folder
