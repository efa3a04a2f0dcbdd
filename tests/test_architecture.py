"""The house rules that a program can check."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# A room may import those before it; rooms of one rank do not know each other.
RANKS = [
    {"errors", "atomic"},
    {"progress_bars"},
    {"progress"},
    {"config"},
    {"settings"},
    {"backbones"},
    {"data"},
    {"features"},
    {"runs"},
    {"jobs"},
    {"training"},
    {"testing"},
    {"web"},
    {"cli"},
    {"__main__"},
]
RANK = {room: rank for rank, rooms in enumerate(RANKS) for room in rooms}
HEAVY = {"keras", "tensorflow", "openvino"}
HEAVY_ROOMS = {"features", "runs", "training"}
MODULES = sorted((ROOT / "tlearn").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins").glob("*.py"))


def room_of(path):
    return path.relative_to(ROOT / "tlearn").parts[0].removesuffix(".py")


def imports(path, top_only=False):
    """Yield ``(module, names)`` of every import, or of those at the top of the module alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, tuple(alias.name for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_point_one_way(path):
    own = room_of(path)
    if own == "__init__":
        return  # the public names: loaded when they are used
    for module, names in imports(path):
        assert not module.startswith("tlearn_plugins")
        if module == "tlearn":
            rooms = [name for name in names if name != "__version__"]
        elif module.startswith("tlearn."):
            rooms = [module.split(".")[1]]
        else:
            continue
        for room in rooms:
            assert room == own or RANK[room] < RANK[own], f"{own} imports {room}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_heavy_libraries_stand_where_they_belong(path):
    if room_of(path) not in HEAVY_ROOMS:
        found = {module.split(".")[0] for module, _ in imports(path, top_only=True)}
        assert not found & HEAVY


@pytest.mark.parametrize("path", PLUGINS, ids=lambda p: p.name)
def test_plugins_are_short_and_use_public_names(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 80
    for module, _ in imports(path):
        plain = module in sys.stdlib_module_names
        assert plain or module in ("tlearn.backbones", "tlearn.config", "keras.applications")


@pytest.mark.parametrize("path", [*MODULES, *PLUGINS], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_files_fit_a_head_and_functions_a_screen(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            start = node.body[0].end_lineno if ast.get_docstring(node) else node.lineno
            assert node.end_lineno - start <= 60, node.name


def test_views_are_short_and_only_show():
    for path in (ROOT / "tlearn" / "web" / "pages").glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) < 200, path.name
        assert not {m.split(".")[0] for m, _ in imports(path)} & {"os", "shutil", "subprocess"}


def test_help_and_listing_load_nothing_heavy():
    code = (
        "import sys; from tlearn.cli import main; main([sys.argv[1]]); "
        "print(sorted({m.split('.')[0] for m in sys.modules}), file=sys.stderr)"
    )
    for argument in ("--help", "backbones"):
        done = subprocess.run(
            [sys.executable, "-c", code, argument], capture_output=True, text=True, check=True
        )
        loaded = set(ast.literal_eval(done.stderr.splitlines()[-1]))
        assert not loaded & {*HEAVY, "sklearn", "matplotlib", "pandas", "scipy", "lmdb"}


def test_the_readme_maps_the_house():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = re.search(r"```\ntlearn/\n(.*?)```", readme, re.S).group(1)
    named = re.findall(r"^ {2}(\w+(?:\.py|/))", tree, re.M)
    there = [
        p.name + ("/" if p.is_dir() else "")
        for p in (ROOT / "tlearn").iterdir()
        if p.name[0] not in "_." and p.name != "py.typed"
    ]
    assert sorted(named) == sorted(there)


def test_the_packages_in_pyproject_are_those_there_are():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = set(re.findall(r'"(tlearn[\w.]*)"', text.split("packages = [")[1].split("]")[0]))
    there = {
        p.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for p in (ROOT / "tlearn").rglob("__init__.py")
    }
    assert listed == there | {"tlearn_plugins"}


def test_nothing_speaks_of_where_it_was_made():
    files = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    for name in files:
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".yaml") and path.exists():
            assert "/work/" + "main" not in path.read_text(encoding="utf-8"), name
