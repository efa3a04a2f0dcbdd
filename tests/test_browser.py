"""The page in a real browser: whole journeys, with real photos and the real MobileNetV2."""

import io
import json
import re
import shutil
import zipfile

import numpy as np
import pytest
from browser import ARGUMENTS, Site, Tab, chromium, until
from PIL import Image

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(chromium() is None, reason="Chromium is not installed")

PER_CLASS = 30


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory, shared):
    place = tmp_path_factory.mktemp("site")
    env = {
        "TLEARN_CACHE": str(place / "cache"),
        "TLEARN_CONFIG": str(place / "config"),
        "KERAS_HOME": str(shared / "weights" / "keras"),
    }
    found = Site(place, env).start()
    yield found
    found.close()


@pytest.fixture
def tab(site, browser):
    context = browser.new_context(
        viewport={"width": 1280, "height": 860}, locale="en-GB", permissions=["camera"]
    )
    found = Tab(site, context.new_page())
    yield found
    context.close()
    assert not found.faults
    log = site.runs / ".page.log"
    assert not (log.exists() and log.read_text()), log.read_text()


@pytest.fixture(scope="module")
def flowers(tmp_path_factory, shared):
    """A folder of flowers with one damaged photo and one file that is none."""
    folder = tmp_path_factory.mktemp("flowers") / "flowers"
    for source in sorted((shared / "data" / "flowers").iterdir()):
        (folder / source.name).mkdir(parents=True)
        for photo in sorted(source.iterdir())[:PER_CLASS]:
            shutil.copy(photo, folder / source.name)
    whole = next((folder / "roses").iterdir()).read_bytes()
    (folder / "roses" / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "roses" / "notes.txt").write_text("not a photo")
    return folder


def zipped(files, **options):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def payload(name, data):
    return {"name": name, "mimeType": "application/zip", "buffer": data}


def test_a_folder_is_uploaded_and_mended(tab, site, flowers):
    tab.go()
    tab.see("Begin here.")
    tab.upload(str(flowers), folder=True)
    tab.see(f"Photos: {5 * PER_CLASS} · classes: 5 · files that need a look: 1")
    tab.see("Files left out: 1")
    assert not (site.data / "flowers" / "roses" / "notes.txt").exists()
    tab.view("Problems")
    tab.press("Quarantine all 1 unreadable", then="files that need a look: 0")
    kept = site.data / "flowers-quarantine"
    assert [p.name for p in kept.rglob("broken.jpg")] == ["broken.jpg"]
    tab.press("Undo: quarantine", then="files that need a look: 1")
    tab.press("Quarantine all 1 unreadable", then="files that need a look: 0")

    tab.view("Classes")
    tab.shot("data")
    tab.page.locator("button").filter(has_text="Open").first.click()  # daisy
    tab.see("All classes")
    tab.press("Rename")
    tab.page.get_by_label("New name").fill("蒲公英 Löwenzahn")
    tab.page.get_by_label("New name").press("Enter")
    tab.press("Rename", then="Undo: rename")
    assert (site.data / "flowers" / "蒲公英 Löwenzahn").is_dir()
    tab.see("蒲公英 Löwenzahn")
    box = tab.page.locator("[data-testid=stCheckbox]").first
    moved = box.inner_text()
    box.click()
    tab.settle()
    target = tab.page.get_by_label("Class to move to")
    target.fill("tulips")
    target.press("Enter")
    tab.press("Move 1", then="Undo: move")
    assert (site.data / "flowers" / "tulips" / moved).is_file()
    tab.press("Undo: move", then="Undo: rename")
    tab.press("Undo: rename")
    tab.see("daisy")
    assert (site.data / "flowers" / "daisy").is_dir()
    assert not (site.data / "flowers" / "tulips" / moved).exists()
    tab.view("Split")
    tab.see("Photos to train on")
    tab.view("Changes")
    tab.see("class renamed")


def test_loose_photos_make_no_data_set(tab, site, flowers):
    tab.go()
    tab.see("New data set").click()
    tab.upload([str(next((flowers / "tulips").iterdir()))])
    tab.see("These photos lie in no class folder.")
    assert sorted(p.name for p in site.data.iterdir() if p.name[0] != ".") == [
        "flowers",
        "flowers-quarantine",
    ]


def test_an_upload_can_be_cancelled(tab, site, tmp_path):
    file = tmp_path / "large.zip"
    with file.open("wb") as out:
        out.truncate(3_000_000_000)  # sparse
    tab.go()
    tab.see("New data set").click()
    tab.upload([str(file)])
    tab.see("0 of 1 files")
    tab.page.locator("button.cancel").click()
    tab.see("Cancelled. Nothing was kept.")
    left = [p for p in (site.data / ".uploads").rglob("*") if p.is_file()]
    assert not left


def test_hostile_archives_are_told_and_leave_nothing(tab, site):
    before = sorted(p.name for p in site.data.iterdir() if p.name != ".uploads")
    bombs = {
        "way out": zipped({"a/x.jpg": b"x", "../../evil.jpg": b"x"}),
        "bomb": zipped({f"a/{i}.jpg": bytes(30_000_000) for i in range(3)}),
        "nothing": zipped({"a/readme.txt": b"hello"}),
        "damaged": zipped({"a/x.jpg": b"x" * 1000})[:200],
    }
    words = {"way out": "leads out", "bomb": "times", "nothing": "", "damaged": "damaged"}
    for name, data in bombs.items():
        tab.go()
        tab.see("New data set").click()
        tab.upload([payload(f"{name.replace(' ', '_')}.zip", data)])
        alert = tab.page.locator("[data-testid=stAlert]").first
        alert.wait_for()
        assert words[name] in alert.inner_text(), alert.inner_text()
        assert "Traceback" not in tab.page.inner_text("body")
    assert sorted(p.name for p in site.data.iterdir() if p.name != ".uploads") == before
    assert not (site.data.parent / "evil.jpg").exists()
    assert not list((site.data / ".uploads").glob("*/files/*"))


def test_a_zip_becomes_a_data_set(tab, site, flowers):
    names = [p for p in sorted(flowers.rglob("*.jpg")) if p.parent.name in ("daisy", "tulips")]
    data = zipped({f"two kinds/{p.parent.name}/{p.name}": p.read_bytes() for p in names})
    tab.go()
    tab.see("New data set").click()
    tab.page.get_by_label("Name").fill("雏菊与郁金香")
    tab.page.get_by_label("Name").press("Enter")
    tab.settle()
    tab.upload([payload("photos.zip", data)])
    tab.see(f"Photos: {2 * PER_CLASS} · classes: 2")
    assert sorted(p.name for p in (site.data / "雏菊与郁金香").iterdir()) == ["daisy", "tulips"]


def test_train_reload_stop_resume(tab, site, browser):
    tab.go("train?data=flowers")
    tab.page.get_by_text("Best", exact=True).click()
    tab.settle()
    tab.see("The same on the command line").click()
    tab.see("tlearn finetune")
    tab.press("Start training", then="flowers · trains")
    tab.page.locator("[data-testid=stVegaLiteChart]").first.wait_for(timeout=180_000)
    tab.shot("train")
    tab.go("train?data=flowers")  # as after closing the browser
    tab.see("flowers · trains")
    other = Tab(site, browser.new_page())
    other.go("train?data=flowers")
    other.see("flowers · trains")
    tab.press("Stop", then="flowers · stopped, its best is kept")
    other.see("flowers · stopped, its best is kept")
    assert json.loads((site.runs / "flowers" / "metrics.json").read_text())["stopped"]
    other.press("Resume")
    tab.see("flowers · trains")
    site.kill()  # the training goes on without its page
    site.start()
    tab.go("train?data=flowers")
    tab.see("flowers · finished", 300)
    other.page.close()
    tab.faults.clear()  # the web socket of the server that was killed
    assert not json.loads((site.runs / "flowers" / "metrics.json").read_text())["stopped"]


def test_a_quick_look_at_another_set(tab, site):
    tab.go("train")
    tab.page.get_by_label("Data set").click()
    tab.page.get_by_text("雏菊与郁金香").last.click()
    tab.settle()
    tab.page.get_by_text("Quick look", exact=True).click()
    tab.settle()
    tab.page.get_by_label("Name of the run").fill("quick")
    tab.page.get_by_label("Name of the run").press("Enter")
    tab.settle()
    tab.press("Start training")
    tab.see("quick · finished", 180)


def test_results(tab, site, tmp_path):
    tab.go("results?run=flowers")
    tab.see("Accuracy (Validation)")
    tab.view("Confusions")
    chart = tab.page.locator("[data-testid=stVegaLiteChart]").first
    chart.wait_for()
    tab.page.wait_for_timeout(1000)
    tab.shot("results")
    box = chart.bounding_box()
    for _ in range(10):  # a chart that is being drawn hears no click
        chart.click(position={"x": box["width"] * 0.3, "y": box["height"] * 0.12})
        tab.page.wait_for_timeout(2000)
        if tab.page.get_by_text("told as daisy").count():
            break
    tab.see("told as daisy")
    for view in ("Least sure hits", "Curves", "Settings", "Surest mistakes"):
        tab.view(view)
    tab.press("Note")
    tab.page.get_by_role("textbox", name="Note").fill("the good one")
    tab.press("Keep the note")
    note = site.runs / "flowers" / "note.txt"
    until(lambda: note.exists() and note.read_text() == "the good one\n")
    for name, first in (("Model", b"PK"), ("Whole run", b"PK")):
        with tab.page.expect_download() as download:
            tab.page.get_by_role("link", name=name).click()
        assert download.value.path().read_bytes()[:2] == first
    with zipfile.ZipFile(download.value.path()) as archive:
        assert {"flowers/model.keras", "flowers/metrics.json"} <= set(archive.namelist())
    tab.page.get_by_label("Beside").click()
    tab.page.get_by_text("quick", exact=True).last.click()
    tab.see(re.compile("both were measured on|not measured on the same photos"))
    tab.go("results?run=quick")
    tab.press("Delete", then="Take back quick")
    tab.press("Take back quick")
    assert (site.runs / "quick" / "model.keras").is_file()


def test_predict_and_correct(tab, site, flowers):
    photos = sorted((flowers / "daisy").iterdir())
    tab.go("predict?run=flowers")
    tab.upload([str(p) for p in photos[:2]])
    tab.see("This is wrong")
    tab.shot("predict")
    tab.press("This is wrong")
    right = tab.page.get_by_label("This is wrong").last
    add = tab.page.get_by_role("button", name="Add 1 to the data").last
    for _ in range(5):  # a field that is being shown anew forgets what is typed
        right.fill("tulips")
        right.press("Enter")
        tab.page.wait_for_timeout(1000)
        tab.settle()
        if add.is_enabled():
            break
    tab.press("Add 1 to the data", then="Added to tulips for the next training: 1")
    assert len(list((site.data / "flowers" / "tulips").iterdir())) == PER_CLASS + 1
    many = zipped({f"new/{p.name}": p.read_bytes() for p in photos} | {"new/bad.jpg": b"no"})
    tab.upload([payload("many.zip", many)])
    tab.see("Choose rows to correct them")
    with tab.page.expect_download() as download:
        tab.page.get_by_role("link", name="CSV").click()
    lines = download.value.path().read_text("utf-8-sig").splitlines()
    assert len(lines) == PER_CLASS + 1 and lines[0].startswith("photo,label_1")
    tab.view("Camera")
    tab.press("Take Photo", then="camera.jpg")  # until the camera has a picture


def test_five_thousand_files(tab, site, tmp_path):
    rng = np.random.default_rng(0)
    for label in ("猫", "dog", "طائر", "🐟"):
        folder = tmp_path / "animals" / label
        folder.mkdir(parents=True)
        for i in range(1250):
            pixels = rng.integers(0, 255, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{i:04}.png")
    tab.go()
    tab.see("New data set").click()
    tab.upload(str(tmp_path / "animals"), folder=True)
    tab.see("Photos: 5,000 · classes: 4", 180)
    tab.see("猫")
    tab.page.locator("button").filter(has_text="Open").first.click()
    tab.see("Page 1 of 53")
    tab.press("Next", then="Page 2 of 53")


@pytest.mark.parametrize("page", ["data", "train", "results", "predict", "plugins"])
def test_every_page_fits_every_width_in_both_languages(tab, browser, site, page):
    query = "?data=flowers&run=flowers"
    tab.go(f"{page if page != 'data' else ''}{query}")
    if page == "plugins":
        tab.shot("plugins")
    assert all(over <= 1 for over in tab.widths().values()), tab.widths()
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, locale="zh-CN", color_scheme="dark"
    )
    other = Tab(site, context.new_page())
    other.go(f"{page if page != 'data' else ''}{query}")
    titles = {
        "data": "数据",
        "train": "训练",
        "results": "结果",
        "predict": "预测",
        "plugins": "插件",
    }
    assert other.page.locator("h1").first.inner_text() == titles[page]
    assert not other.faults
    context.close()


def test_nothing_is_left_in_the_staging_folders(site):
    left = [p for p in (site.data / ".uploads").rglob("*") if p.is_file()]
    assert not left
