"""What tests of packages share: wheels, installing them, their own tests in a process apart."""

import os
import shutil
import subprocess
import sys

PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
# Of Keras's and TensorFlow's own making, as in our own tests; any other warning is an error.
WARNINGS = """filterwarnings=
  error
  ignore::DeprecationWarning:keras.*
  ignore::DeprecationWarning:tensorflow.*"""


def build_wheels(folder, *sources):
    """Build wheels of copies of source folders, which leaves nothing beside the sources."""
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    copies = [
        shutil.copytree(source, folder / "sources" / source.name, ignore=ignored)
        for source in sources
    ]
    options = ("--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    subprocess.run([*PIP, "wheel", *options, *copies], check=True)
    return sorted(folder.glob("*.whl"))


def install(folder, *wheels):
    """Install wheels into a folder; return an environment in which they are found."""
    subprocess.run([*PIP, "install", "--no-deps", "--target", folder, *wheels], check=True)
    paths = os.pathsep.join([str(folder), os.environ["PYTHONPATH"]])
    return {**os.environ, "PYTHONPATH": paths}


def tlearn(env, *arguments):
    """Run a command in an environment; return what it prints."""
    command = [sys.executable, "-m", "tlearn", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout


def run_tests(env, place, *folders):
    """Run the tests of packages with what is installed in an environment; return the report."""
    options = ("-o", WARNINGS, "-p", "no:cacheprovider", "-p", "no:xdist", "-c", os.devnull)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", place, *folders],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        cwd=place,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout
