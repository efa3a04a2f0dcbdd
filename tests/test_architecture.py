"""The house rules that a program can check."""

import ast
import re
import subprocess
import sys

from conftest import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
HEAVY = {"keras", "tensorflow", "openvino"}
HEAVY_ROOMS = {"features", "training", "experiments", "keras_import"}
MODULES = sorted((ROOT / "tlearn").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins").glob("*.py"))


def ranks():
    """Return the rank of each room, as docs/architecture.md has them: lower ones first."""
    table = PAGE.split("| rooms |")[1].split("\n\n")[0]
    lines = re.findall(r"^\| (`.*?) \|", table, re.M)
    return {room: rank for rank, line in enumerate(lines) for room in re.findall(r"`(\w+)`", line)}


RANK = ranks()


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


def rooms_imported(path):
    """Yield the rooms that a module imports, by either way of saying it."""
    for module, names in imports(path):
        if module == "tlearn":
            yield from (name for name in names if name != "__version__")
        elif module.startswith("tlearn."):
            yield module.split(".")[1]


def test_the_page_names_the_rooms_there_are():
    assert set(RANK) == {room_of(path) for path in MODULES} - {"__init__"}


def test_imports_point_one_way_as_the_page_says():
    for path in MODULES:
        own = room_of(path)
        if own == "__init__":
            continue  # the public names: loaded when they are used
        assert "tlearn_plugins" not in {module.split(".")[0] for module, _ in imports(path)}, path
        for room in rooms_imported(path):
            assert room == own or RANK[room] < RANK[own], f"{path} imports {room}"


def test_heavy_libraries_stand_where_they_belong():
    for path in MODULES:
        if room_of(path) not in HEAVY_ROOMS:
            tops = {module.split(".")[0] for module, _ in imports(path, top_only=True)}
            rooms = {module.removeprefix("tlearn.") for module, _ in imports(path, top_only=True)}
            assert not tops & HEAVY and "keras_import" not in rooms, path


def test_keras_and_tensorflow_are_imported_in_one_place():
    for path in MODULES:
        if room_of(path) != "keras_import":
            assert not {m.split(".")[0] for m, _ in imports(path)} & {"keras", "tensorflow"}, path


def test_plugins_are_short_and_use_public_names():
    for path in PLUGINS:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 80, path
        public = ("tlearn.backbones", "tlearn.config", "tlearn.testing")
        for module, _ in imports(path):
            assert module.split(".")[0] != "tlearn" or module in public, f"{path} imports {module}"
        for module, _ in imports(path, top_only=True):  # whatever else, in the functions
            plain = module.split(".")[0] in sys.stdlib_module_names
            assert plain or module in public, f"{path} imports {module}"


def test_files_fit_a_head_and_functions_a_screen():
    for path in [*MODULES, *PLUGINS]:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                start = node.body[0].end_lineno if ast.get_docstring(node) else node.lineno
                assert node.end_lineno - start <= 60, f"{node.name} in {path}"


def test_pages_are_short_and_only_show():
    for path in (ROOT / "tlearn" / "web" / "pages").glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) < 200, path.name
        assert not {m.split(".")[0] for m, _ in imports(path)} & {"os", "shutil", "subprocess"}


def test_help_and_listing_load_nothing_heavy():
    code = (
        "import sys; from tlearn.cli import main; main([sys.argv[1]]); "
        "print(sorted({m.split('.')[0] for m in sys.modules}), file=sys.stderr)"
    )
    for argument in ("--help", "--version", "backbones", "plugins"):
        done = subprocess.run(
            [sys.executable, "-c", code, argument], capture_output=True, text=True, check=True
        )
        loaded = set(ast.literal_eval(done.stderr.splitlines()[-1]))
        assert not loaded & {*HEAVY, "sklearn", "pandas", "scipy", "streamlit"}
        assert not loaded & {"numpy", "PIL", "pydantic", "yaml", "rich"}, argument


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
