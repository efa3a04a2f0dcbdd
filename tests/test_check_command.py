"""``tlearn check``: what it prints, writes, and puts right."""

import json
import shutil
import subprocess
import sys

import pytest
from PIL import Image

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
