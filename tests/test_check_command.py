"""``tlearn check``: what it prints, writes, and puts right."""

import json
import shlex
import shutil
import subprocess
import sys
from html import escape

import pytest
from PIL import Image

from tlearn.checks import data_check
from tlearn.cli import main
from tlearn.data.scan import scan


@pytest.fixture
def check(photos, capsys):
    """Run the command on photos of which three are wrong."""
    Image.new("RGB", (40, 36)).save(photos / "red" / "black.png")
    (photos / "red" / "broken.jpg").write_bytes(b"\xff\xd8\xffno")
    shutil.copy(photos / "red" / "red00.png", photos / "red" / "copy.png")

    def run(*arguments):
        code = main(["check", str(photos), "--files-only", "--quiet", *map(str, arguments)])
        found = capsys.readouterr()
        return code, found.out + found.err

    return run


def test_findings_are_listed_by_check_with_what_would_be_done(check, photos):
    code, out = check()
    assert code == 0 and "1 error, 2 warnings about 38 photos of 3 classes" in out
    for line in (
        "unreadable (1 error)",
        "red/broken.jpg: damaged or unsupported JPEG file [fix: exclude]",
        "red/red00.png ~ red/copy.png: the same file as another of its class [fix: exclude]",
        f"next: tlearn check {photos} --files-only --fix unreadable --dry-run",
    ):
        assert line in out
    Image.new("RGB", (40, 36)).save(photos / "red" / "night.png", compress_level=0)
    out = check()[1]
    assert "one colour (2 warnings): nothing can be seen on it" in out
    assert out.count("nothing can be seen on it") == out.count("\n  red/night.png\n") == 1
    assert "nothing wrong with 36 photos" in (check("--fix", "all"), check())[1][1]


def test_fixes_are_looked_at_made_at_once_and_undone(check, photos, capsys):
    out = check("--dry-run")[1]
    assert "3 edits proposed" in out and "red/broken.jpg  excluded" in out
    assert check("--fix", "one colour", "--dry-run")[1].count("excluded") == 1
    assert not scan(photos).edits.lines
    code, out = check("--fix", "one colour", "--fix", "red/broken.jpg")
    assert code == 0 and "2 edits made" in out and f"tlearn data undo {photos} takes" in out
    assert scan(photos).counts["red"] == 13 and not scan(photos).unreadable
    assert main(["data", "undo", str(photos)]) == 0 and "2 edits" in capsys.readouterr().out
    code, out = check("--fix", "suspect label")
    assert code == 0 and "no edits" in out
    code, out = check("--fix", "colours")
    assert code == 2 and "did you mean 'colour'" in out and out.count("\n") == 1


def test_a_name_that_is_none_is_refused_before_photos_are_read(check, monkeypatch):
    def scan(*arguments, **options):
        raise AssertionError

    monkeypatch.setattr(data_check, "scan", scan)
    for word, close in (
        ("suspect labels", "suspect label"),
        ("red/blakc.png", "red/black.png"),
        ("rad/", "red/"),
    ):
        code, out = check("--fix", "all", "--fix", word)
        assert code == 2 and f"did you mean {close!r}" in out and out.count("\n") == 1
    for word in ("red/broken.jpg", "red/", "all"):
        assert "AssertionError" in check("--fix", word)[1]


def test_all_leaves_to_the_eye_what_may_be_right(check, photos):
    Image.new("RGB", (40, 36), (9, 9, 9)).save(photos / "red" / "Black.png")
    shutil.copytree(photos / "green", photos / "Green")
    code, out = check("--fix", "all")
    assert code == 0 and "made" in out and "merge" not in out
    assert "left out, for some may be right: 1 similar classes; look at them" in out
    assert out.endswith(f"tlearn check {photos} --files-only --fix 'similar classes'\n")
    assert "class green  -> Green" in check("--fix", "all", "--fix", "similar classes")[1]
    assert "left out" not in check("--fix", "all")[1]


def test_what_is_suggested_has_the_options_that_were_given(check, photos, tmp_path):
    (tmp_path / "my.yaml").write_text("size: 32\n")
    (tmp_path / "nothing.py").touch()
    given = ("--group", "([a-z]+)0", "--config", tmp_path / "my.yaml", "--set", "head.dropout=0.1")
    out = check(*given, "--html", tmp_path / "check.html", "--plugins-dir", tmp_path)[1]
    words = shlex.split(out.partition("\nnext: ")[2].partition("\n")[0])
    fix = ["--fix", "unreadable"]
    plugins = ["--plugins-dir", str(tmp_path)]
    command = ["tlearn", "check", str(photos), *plugins, "--files-only", *map(str, given), *fix]
    assert sorted(words) == sorted([*command, "--dry-run"])
    assert check(*words[3:])[0] == 0
    html = (tmp_path / "check.html").read_text(encoding="utf-8")
    assert f"<code>{escape(shlex.join(words[:-1]))}</code>" in html


def test_json_and_the_page_have_everything(check, photos, tmp_path):
    values = json.loads(check("--json")[1])
    assert values["counts"] == {"unreadable": 1, "duplicate": 1, "one colour": 1}
    assert values["photos"] == 38 and values["classes"] == ["blue", "green", "red"]
    (broken,) = [f for f in values["findings"] if f["check"] == "unreadable"]
    assert broken["names"] == ["red/broken.jpg"] and broken["severity"] == "error"
    assert broken["edits"] == [{"path": "red/broken.jpg", "action": "exclude", "value": ""}]
    values = json.loads(check("--json", "--fix", "all", "--dry-run")[1])
    assert len(values["edits"]) == 3 and values["made"] is False
    assert f"the page is {tmp_path / 'check.html'}" in check("--html", tmp_path / "check.html")[1]
    html = (tmp_path / "check.html").read_text(encoding="utf-8")
    assert "<b><bdi dir=ltr><bdi dir=ltr>" in html
    assert html.count('<img src="data:image/jpeg') == 3 and "fix: exclude<" in html
    assert "1 error, 2 warnings about 38 photos" in html and ">1 warning</small>" in html
    assert "http" not in html


def test_what_cannot_be_used_is_refused_in_a_line(check, tmp_path):
    for arguments, words in (
        (("--html", tmp_path / "none" / "x.html"), "--html takes a file in an existing folder"),
        (("--group", "("), "group"),
    ):
        code, out = check(*arguments)
        assert code == 2 and words in out and out.count("\n") == 1, arguments
    assert main(["check", str(tmp_path / "none"), "--files-only"]) == 2
    assert main(["check", str(tmp_path), "--backbone", "none"]) == 2  # before anything is read


def test_files_are_checked_without_tensorflow(photos):
    code = (
        "import sys; from tlearn.cli import main; main(sys.argv[1:]); "
        "print({m.split('.')[0] for m in sys.modules} & {'keras', 'tensorflow', 'openvino'})"
    )
    command = [sys.executable, "-c", code, "check", str(photos), "--files-only"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
