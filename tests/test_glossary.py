"""The words of docs/architecture.md, and no others, are what public names are made of."""

import ast
import re

from conftest import ROOT

# Each names something for which the field has a word; docs/architecture.md has them all.
FORBIDDEN = {
    "trunk": "backbone",
    "cut": "boundary",
    "told": "prediction, or say what was reported",
    "judge": "candidate result",
    "judged": "candidate result",
    "leader": "best weights",
    "keeper": "checkpointer",
    "standing": "training state",
    "course": "training plan",
    "begun": "started",
    "entrant": "candidate",
    "side": "split; of an image, size",
    "quarantine": "exclude",
    "doctor": "edits",
    "draft": "plan",
    "journal": "edits",
    "stage_policy": "preset",
    "recipe": "preset, stages",
    "found": "what was found",
}
# Here a side is the edge of a picture, in pixels, or a phrase.
ALLOWED = {
    "tlearn/web/thumbnails.py": {"side"},
    "tlearn/web/components/gallery.py": {"side", "SIDE"},
    "tlearn/web/components/run_pair.py": {"side_by_side"},
}
SOURCES = sorted([*(ROOT / "tlearn").rglob("*.py"), *(ROOT / "plugins").glob("*.py")])


def words_of(name):
    """Split a name into words in the singular: ``HeldOutPrediction``, ``held_out_predictions``."""
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower().split("_")
    return "_".join(re.sub(r"ie$", "y", word.removesuffix("s")) for word in words)


def targets(node):
    """Return what an assignment binds."""
    if isinstance(node, ast.AnnAssign):
        return [node.target]
    return node.targets if isinstance(node, ast.Assign) else []


def public_names(path):
    """Yield ``(line, kind, name)`` of what a module offers: itself, and all that is in it."""
    yield 1, "module", path.stem
    tree = ast.parse(path.read_text(encoding="utf-8"))
    scopes = [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]
    for scope in scopes:
        for node in scope.body:
            for target in targets(node):
                if isinstance(target, ast.Name):
                    yield node.lineno, "attribute", target.id
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node.lineno, "class", node.name
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.lineno, "function", node.name
            arguments = node.args
            for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
                yield argument.lineno, "parameter", argument.arg
        for target in targets(node):
            if isinstance(target, ast.Attribute) and getattr(target.value, "id", "") == "self":
                yield node.lineno, "attribute", target.attr


def violations():
    for path in SOURCES:
        place = path.relative_to(ROOT).as_posix()
        for line, kind, name in public_names(path):
            if name.startswith("_") or name in ALLOWED.get(place, ()):
                continue
            for word, instead in FORBIDDEN.items():
                if (word, kind) == ("found", "parameter"):
                    continue  # what a search found, handed on
                if re.search(rf"(^|_){word}(_|$)", words_of(name)):
                    yield f"{place}:{line}: {kind} {name!r}: say {instead}"


def test_public_names_use_the_words_of_the_field():
    assert list(violations()) == []


def test_a_forbidden_word_is_seen_in_every_kind_of_name(tmp_path, monkeypatch):
    monkeypatch.setattr("test_glossary.ROOT", tmp_path)
    monkeypatch.setattr("test_glossary.SOURCES", [tmp_path / "journals.py"])
    (tmp_path / "journals.py").write_text(
        "TOLD: int = 1\n"
        "class StagePolicies:\n    sides = ()\n"
        "    def __init__(self, cut, *, found):\n        self.found = found\n"
        "def judge_all(shortcut, _side, decide): ...\n"
    )
    seen = [line.split("'")[1] for line in violations()]
    assert set(seen) == set("journals TOLD StagePolicies sides cut found judge_all".split())
    assert len(seen) == 7  # the attribute, not the parameter


def test_a_file_name_occurs_once():
    places = {}
    for path in sorted((ROOT / "tlearn").rglob("*.py")):
        if path.name != "__init__.py":
            places.setdefault(path.name, []).append(path.relative_to(ROOT).as_posix())
    assert [several for several in places.values() if len(several) > 1] == []
