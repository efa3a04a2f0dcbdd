"""The page in a real browser: three journeys, each on a server and folders of its own."""

import csv
import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import pytest
from browser import ARGUMENTS, LOCALE, Tab, archive, chromium, write_pace_plugin
from conftest import draw_photos
from serving import Server, until

from tlearn.data.scan import scan

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium() is None, reason="Chromium is not installed"),
]

PER_CLASS = 12
NO_CAMERA = """() => {
  Object.defineProperty(navigator, "mediaDevices", { value: undefined });
  Object.defineProperty(window, "isSecureContext", { value: false });
}"""


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def context(browser):
    """A browser with nothing remembered, on a large screen."""
    size = {"width": 1280, "height": 860}
    context = browser.new_context(locale=LOCALE, permissions=["camera"], viewport=size)
    yield context
    context.close()


@pytest.fixture
def server(tmp_path, cache):
    """A server with an empty data root, and with paced trainings."""
    (tmp_path / "data").mkdir()
    write_pace_plugin(tmp_path)
    disabled = {"TLEARN_DISABLE_PLUGINS": "efficientnet_lite,vgg19,inception_v3,xception"}
    server = Server.ui(tmp_path, env=disabled)
    server.env["PYTHONPATH"] += os.pathsep + str(tmp_path)
    with server:
        yield server
    log = server.runs / ".page.log"  # where a page that broke says so
    assert not (log.exists() and log.read_text()), log.read_text()


@pytest.fixture
def tab(server, context):
    with Tab(server, context) as tab:
        yield tab


def photo_files(folder):
    return sorted(folder.rglob("*.png"))


# ---- Bringing data


def test_journey_of_data(tab, server, context, tmp_path):
    folder = draw_photos(tmp_path / "colours", PER_CLASS)
    whole = photo_files(folder / "red")[0].read_bytes()
    (folder / "red" / "broken.png").write_bytes(whole[: len(whole) // 2])
    (folder / "red" / "notes.txt").write_text("not a photo")
    upload_a_folder(tab, server, folder)
    edit_classes(tab)
    look_at_the_splits(tab)
    a_class_is_made_here_with_photos_of_the_camera(tab, server)
    a_table_that_cannot_be_used_is_refused(tab, server, folder, tmp_path / "labels.csv")
    an_upload_is_cancelled(tab, server)
    leaving_during_an_upload_warns_and_leaves_nothing(tab, server, context)
    an_upload_goes_on_while_another_page_is_shown(tab, server, folder)
    a_folder_is_used_in_place(tab, server, folder)
    a_hostile_archive_leaves_nothing(tab, server)
    a_zip_with_many_files_and_any_name(tab, server, folder)
    assert not staged(server)


def upload_a_folder(tab, server, folder):
    """What is no photo is left out, and what cannot be read is excluded."""
    tab.go()
    tab.see("common.about_train")
    tab.fits()
    tab.view("data.from_upload")
    tab.upload(str(folder), folder=True)
    tab.see("data.left_out", count=1)  # what is no photo
    counts = tab.text("data.counts", photos=3 * PER_CLASS, classes=3)
    tab.see(f"{counts} · {tab.text('data.need_look', count=1)}")
    assert not list(server.data.rglob("notes.txt"))
    correct_what_the_check_finds(tab)
    tab.view("data.tab_problems")
    counted = tab.page.get_by_text(counts, exact=True)
    tab.press("data.exclude_all", values={"count": 1}, then=counted.is_visible)


def correct_what_the_check_finds(tab):
    """The files are checked when the view is opened; a correction is one click, and so is undo."""
    tab.view("data.tab_check")
    title = tab.page.get_by_role("heading", name=re.compile(tab.t("check.unreadable"), re.I))
    title.wait_for(timeout=60_000)
    fix = tab.keyed("fix.unreadable.0").get_by_role("button")
    undo = tab.text("data.undo", what=tab.text("data.did_exclude", count=1))
    tab.repeat(fix.click, tab.button(undo).is_visible)
    until(lambda: not title.count())
    tab.repeat(tab.button(undo).click, title.is_visible)
    tab.fits()


def edit_classes(tab):
    """A class gets a name in another script, a photo another class; undo takes both back."""
    excluded = tab.text("data.undo", what=tab.text("data.did_exclude", count=1))
    renamed = tab.text("data.undo", what=tab.text("data.did_rename", label="red", to="红色 é"))
    moved = tab.text("data.undo", what=tab.text("data.did_move", count=1, to="blue"))
    tab.view("data.tab_classes")
    red = tab.keyed("open.red").get_by_role("button")
    tab.repeat(red.click, tab.shown("data.all_classes").is_visible)
    tab.enter("data.rename", "data.new_name", "红色 é", "data.rename", renamed)
    box = tab.page.locator("[data-testid=stCheckbox]").first
    tab.repeat(box.click, tab.button("data.move", count=1).is_visible)
    tab.fill(tab.field("data.move_to"), "blue")
    tab.press("data.move", values={"count": 1}, then=moved)
    tab.press(moved, then=renamed)
    tab.press(renamed, then=excluded)
    tab.see("red")
    tab.fits()


def look_at_the_splits(tab):
    """The browser's Back returns to them."""
    tab.view("data.tab_split")
    tab.see("data.split_hint")
    tab.follow("train")
    tab.page.go_back()
    tab.see("data.split_hint")
    tab.view("data.tab_history")
    tab.see("data.did_exclude", count=1)


def a_class_is_made_here_with_photos_of_the_camera(tab, server):
    """Photos are taken as long as the button is held, and again."""
    tab.go("?data=colours")
    new_data_set(tab, "from_classes")
    for n, name in enumerate(("cup", "手"), 1):
        tab.fill(tab.page.get_by_label(tab.text("data.class_number", n=n)), name)
    tab.press("data.make_classes", then="data.photos", count=0)
    cup = server.data / tab.text("data.default_name") / "cup"
    hold = tab.button("camera.hold")
    tab.repeat(
        tab.keyed("add.cup").get_by_role("button").click, tab.button("camera.open").is_visible
    )
    tab.repeat(tab.button("camera.open").click, hold.is_visible)
    tab.page.wait_for_function(
        "[...document.querySelectorAll('*')].some(e => e.shadowRoot?.querySelector('video')"
        "?.readyState > 1)"
    )

    def taken():
        return len(list(cup.glob("camera-*.jpg")))

    for _ in range(2):
        before = taken()
        hold.hover()
        tab.page.mouse.down()
        tab.page.wait_for_timeout(700)
        tab.page.mouse.up()
        until(lambda before=before: taken() > before)
        until(lambda: tab.shown("data.added", label="cup", count=taken()).is_visible())
    count = taken()
    dialog = tab.page.get_by_role("dialog")
    tab.press("Close", then=lambda: not dialog.is_visible())
    tab.see("data.photos", count=count)
    tab.page.evaluate(NO_CAMERA)  # as on a page of another machine without https
    tab.repeat(
        tab.keyed("add.cup").get_by_role("button").click, tab.button("camera.open").is_visible
    )
    tab.press("camera.open", then="camera.insecure")
    tab.press("Close", then=lambda: not dialog.is_visible())


def new_data_set(tab, source="from_upload"):
    choice = tab.page.get_by_role("radio", name=tab.text(f"data.{source}"))
    tab.unfold("data.new", choice)
    tab.view(f"data.{source}")


def data_sets(server):
    return sorted(path.name for path in server.data.iterdir() if path.name[0] != ".")


def staged(server):
    """Return the files of uploads that were neither placed nor removed."""
    walk = os.walk(server.data / ".uploads")  # passes over folders that vanish meanwhile
    paths = [Path(folder, name) for folder, _, names in walk for name in names]
    return [path for path in paths if path.name != ".lock"]


def a_table_that_cannot_be_used_is_refused(tab, server, folder, table):
    before = data_sets(server)
    photo = photo_files(folder)[0]
    table.write_text(f"{photo.name},red\n")  # names no columns
    new_data_set(tab)
    tab.upload([str(path) for path in (photo, table)])
    tab.see("this table is ignored")
    assert data_sets(server) == before


def send_slowly(tab, bytes_per_second):
    """Limit what the tab sends; return a function that takes the limit away."""
    network = tab.page.context.new_cdp_session(tab.page)
    network.send("Network.enable")
    limits = {"offline": False, "latency": 0, "downloadThroughput": -1}
    limit = {**limits, "uploadThroughput": bytes_per_second}
    network.send("Network.emulateNetworkConditions", limit)
    return network.detach


def an_upload_is_cancelled(tab, server):
    new_data_set(tab)
    send_fast = send_slowly(tab, 20_000)
    tab.upload([archive("slow.zip", {"x.bin": os.urandom(1 << 20)})])
    tab.see("upload.sending", done=0, files=1)
    tab.repeat(tab.page.locator("button.cancel").click, tab.shown("upload.cancelled").is_visible)
    until(lambda: not staged(server))
    send_fast()


def leaving_during_an_upload_warns_and_leaves_nothing(tab, server, context):
    with Tab(server, context) as other:
        other.go()
        new_data_set(other)
        send_slowly(other, 20_000)
        other.upload([archive("slow.zip", {"x.bin": os.urandom(1 << 20)})])
        until(lambda: staged(server))
        dialogs = []
        other.page.on("dialog", lambda dialog: dialogs.append(dialog.type) or dialog.dismiss())
        other.page.close(run_before_unload=True)
        until(lambda: dialogs or tab.page.wait_for_timeout(100))
        assert dialogs == ["beforeunload"] and staged(server)
        other.page.close()
        until(lambda: not staged(server))


def an_upload_goes_on_while_another_page_is_shown(tab, server, folder):
    photo = photo_files(folder)[0].read_bytes()
    files = {f"{label}/a.png": photo for label in ("CON", "a: b?")} | {"x.bin": os.urandom(1 << 20)}
    new_data_set(tab)
    tab.fill(tab.field("data.name"), "slow")
    send_fast = send_slowly(tab, 20_000)
    tab.upload([archive("slow.zip", files)])
    tab.see("upload.stay")
    tab.follow("train")
    send_fast()
    until(lambda: any(path.suffix == ".archive" for path in staged(server)))  # all has come
    assert "slow" not in data_sets(server)
    tab.follow("data")
    until(lambda: "slow" in data_sets(server))
    assert {path.name for path in (server.data / "slow").iterdir()} >= {"CON_", "a: b?"}
    tab.see("data.placed", name="slow")
    tab.view("data.tab_problems")  # what was left out and renamed is still said
    tab.see("data.problems_hint")


def a_folder_is_used_in_place(tab, server, folder):
    before = data_sets(server)
    new_data_set(tab, "from_folder")
    field = tab.field("data.folder")
    tab.submit(field, str(folder.parent / "nowhere"), then="is not there")
    tab.submit(field, str(folder), then="data.placed", name="colours-2")
    assert data_sets(server) == before and (folder / "red" / "broken.png").exists()


def a_hostile_archive_leaves_nothing(tab, server):
    """An archive that would do harm is refused in a sentence."""
    before = data_sets(server)
    new_data_set(tab)
    tab.upload([archive("evil.zip", {"a/x.jpg": b"x", "../../evil.jpg": b"x"})])
    tab.see("which leads out of its folder")
    assert not staged(server) and data_sets(server) == before
    assert not list(server.data.parent.rglob("evil.jpg"))


def a_zip_with_many_files_and_any_name(tab, server, folder):
    """Names in several scripts, and more photos than a page shows."""
    pixels = photo_files(folder)[0].read_bytes()
    classes = ("猫", "dog", "طائر")
    names = [f"many/{label}/{i:03}.png" for label in classes for i in range(30)]
    tab.view("data.tab_classes")
    new_data_set(tab)
    tab.fill(tab.field("data.name"), "动物")
    tab.upload([archive("many.zip", dict.fromkeys(names, pixels))])
    tab.see("data.placed", name="动物")
    tab.see("猫")
    assert {path.name for path in (server.data / "动物").iterdir()} == set(classes)
    tab.press("data.open", then=tab.button("Page 2").is_visible)
    tab.press("Page 2", then="024.png")


# ---- Training


def test_journey_of_training(tab, server, context, tmp_path):
    draw_photos(server.data / "colours", PER_CLASS)
    hold = tmp_path / "hold"
    hold.touch()
    start_twice(tab, server)
    with Tab(server, context) as other:
        stop_in_one_tab(tab, other, server, hold)
        look_at_results(tab)
        download(tab)
        resume_in_another_tab(other, hold)
        outlive_the_server(tab, server, hold)
        other.faults.clear()  # the web socket of the server that was killed
    tab.faults.clear()
    tab.fits()
    tab.follow("results")
    compare(tab)
    tab.fits()
    tab.follow("plugins")
    tab.see("plugins.backbones")
    tab.fits()


def job(tab, name, state):
    if state == "finished":
        return tab.text("job.ready", name=name, right="")
    return f"{name} · {tab.text(f'state.{state}')}"


def was_stopped(server):
    return json.loads((server.runs / "colours" / "metrics.json").read_text())["stopped"]


def choose_toy(tab):
    """Choose the toy backbone, with random weights."""
    choose = tab.keyed("card.toy").get_by_role("button")
    chosen = tab.shown(f"{tab.text('train.backbone')}: toy").is_visible
    tab.unfold("train.others", choose)
    tab.repeat(choose.click, chosen)
    weights = tab.keyed("option.weights").locator("input")
    tab.unfold("train.more", weights)
    tab.fill(weights, "none")


def start_twice(tab, server):
    """A training begins, a second one waits for its turn."""
    tab.go("train?data=colours")
    choose_toy(tab)
    tab.view("train.name_balanced")  # the default leaves out what could not improve on the probe
    tab.unfold("train.command", tab.page.get_by_text("tlearn finetune"))
    tab.press("train.start", then=(server.runs / "colours").is_dir)
    tab.see(job(tab, "colours", "running"))
    tab.view("train.name_quick")
    tab.fill(tab.field("train.name"), "second")
    tab.press("train.start", then=(server.runs / "second").is_dir)
    tab.see(job(tab, "second", "queued"))


def stop_in_one_tab(tab, other, server, hold):
    other.go("train?data=colours")
    other.unfold("job.details", other.page.locator("[data-testid=stCode]"))
    other.page.locator("[data-testid=stVegaLiteChart]").wait_for(timeout=60_000)  # some epochs
    tab.page.reload()  # as after closing the browser
    tab.see(job(tab, "colours", "running"))
    running = tab.page.locator("[data-testid=stVerticalBlock]").filter(
        has_text=job(tab, "colours", "running")
    )
    stop = running.last.get_by_role("button", name=tab.text("job.stop")).first
    tab.repeat(stop.click, lambda: any(server.runs.rglob("stop")))
    hold.unlink()
    for each in (tab, other):
        each.see(job(each, "colours", "stopped"))
    assert was_stopped(server)


def resume_in_another_tab(other, hold):
    """The one that waited has its turn first."""
    other.see(job(other, "second", "finished"), 120)
    hold.touch()
    other.press("job.resume", then=lambda: not other.button("job.resume").is_visible())
    other.see(job(other, "colours", "running"))


def outlive_the_server(tab, server, hold):
    """A training goes on without its page, to the end."""
    server.kill()
    server.start()
    hold.unlink()
    tab.go("train?data=colours")
    tab.see(job(tab, "colours", "finished"), 180)
    assert not was_stopped(server)


def look_at_results(tab):
    tab.go("results?run=colours")
    tab.see("results.accuracy")
    others = ("classes", "threshold", "unsure", "curves", "export", "settings", "mistakes")
    for view in ("confusion", *others):
        tab.view(f"results.{view}")
        if view == "confusion":
            tab.see("results.confusion_hint")
            click_a_cell(tab)
        assert not tab.page.locator("[data-testid=stException]").count()


def click_a_cell(tab):
    """A click into the matrix shows the photos of a cell."""
    chart = tab.page.locator("[data-testid=stVegaLiteChart]").first
    chart.wait_for()
    box = chart.bounding_box()
    position = {"x": box["width"] * 0.3, "y": box["height"] * 0.15}
    label = tab.page.get_by_text(tab.t("results.cell", true="", predicted="", count=0).split()[1])
    tab.repeat(lambda: chart.click(position=position), lambda: label.count() > 0)


def download(tab):
    assert zipfile.is_zipfile(tab.download("results.model"))
    with zipfile.ZipFile(tab.download("results.whole")) as whole:
        assert {"colours/model.keras", "colours/metrics.json"} <= set(whole.namelist())


def compare(tab):
    tab.go("results?run=colours&compare=second")
    tab.see("results.different")


# ---- Predicting


def test_journey_of_predictions(tab, server, browser, toy_run, cache):
    shutil.copytree(toy_run.cache, cache)
    photos = shutil.copytree(toy_run.photos, server.data / "colours")
    record = shutil.copytree(toy_run.run, server.runs / "colours") / "run.yaml"
    record.write_text(record.read_text().replace(str(toy_run.photos), str(photos)))
    the_camera_is_asked(tab)
    why_there_is_no_camera_is_said(server, browser, photo_files(photos)[0])
    a_correction_goes_back_to_the_data(tab, photos)
    many_photos_come_as_an_archive(tab, photos)
    new = draw_photos(server.data.parent / "new", 3, seed=5)
    photos_in_class_folders_are_measured_and_explained(tab, new)
    pages_speak_chinese_on_a_phone_in_the_dark(server, browser)
    a_server_that_was_closed_is_said(tab, server)


def the_camera_is_asked(tab):
    """The bars move several times a second, and a picture can be kept."""
    tab.go("predict?run=colours")
    tab.view("predict.camera")
    live = tab.page.locator(".live")
    live.locator(".bar").first.wait_for(timeout=120_000)
    assert live.locator(".bar .name").all_inner_texts() == ["blue", "green", "red"]
    until(
        lambda: float(live.get_attribute("data-rate") or tab.page.wait_for_timeout(100) or 0) >= 3
    )
    tab.press("live.stop", then="live.start")
    assert not live.locator("video").is_visible()
    tab.press("live.start", then="live.keep")
    begun = tab.shown("predict.predicting").or_(tab.shown("camera.jpg"))
    tab.press("live.keep", then=lambda: begun.first.is_visible())
    tab.see("camera.jpg", 180)
    tab.page.reload()
    tab.view("predict.files")
    tab.see("camera.jpg")


def why_there_is_no_camera_is_said(server, browser, photo):
    """Where the browser refuses it, or gives none to the page."""
    context = browser.new_context(locale=LOCALE)
    for script, key in (
        (
            "navigator.mediaDevices.getUserMedia = () => Promise.reject({name: 'NotAllowedError'})",
            "denied",
        ),
        (
            "navigator.mediaDevices.getUserMedia = () => Promise.reject({name: 'NotFoundError'})",
            "missing",
        ),
        ("Object.defineProperty(navigator, 'mediaDevices', {value: undefined})", "insecure"),
    ):
        with Tab(server, context) as tab:
            tab.page.add_init_script(script)
            tab.go("predict?run=colours&view=camera")
            tab.see(f"live.{key}")
            tab.see("live.shoot")
            if key == "insecure":  # as of a phone in the local network: it can take a photo
                tab.page.set_input_files(".live input", photo)
                tab.see("camera.jpg", 180)
    context.close()


def photos_in_class_folders_are_measured_and_explained(tab, folder):
    tab.upload(folder, folder=True)
    tab.see("predict.accuracy", 180)
    tab.see("predict.choose_rows")
    tab.upload([photo_files(folder)[0]])
    begun = tab.shown("predict.explaining").or_(tab.shown("predict.nearest"))
    tab.press("predict.why", then=lambda: begun.first.is_visible())
    tab.see("predict.nearest", 180)
    assert tab.page.locator("[data-testid=stImage] img").filter(visible=True).count() == 6


def a_correction_goes_back_to_the_data(tab, photos):
    added = tab.text("predict.added", label="blue", count=1)
    tab.enter("predict.wrong", "predict.wrong", "blue", "predict.add", added)
    assert scan(photos).counts == {"blue": 13, "green": 12, "red": 12}


def many_photos_come_as_an_archive(tab, photos):
    """They are shown in a table and given as CSV; what is no photo is left out by name."""
    some = {f"new/{path.name}": path.read_bytes() for path in photo_files(photos / "green")}
    tab.upload([archive("many.zip", some | {"new/bad.jpg": b"no"})])
    tab.see("predict.choose_rows", 180)
    assert not tab.shown("upload.received").is_visible()
    with tab.download("predict.csv").open(encoding="utf-8-sig", newline="") as file:
        _, *rows = csv.reader(file)
    assert {row[0] for row in rows} == set(some)
    tab.fits()


def pages_speak_chinese_on_a_phone_in_the_dark(server, browser):
    phone = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}
    context = browser.new_context(locale="zh-CN", **phone)
    with Tab(server, context, "zh-CN") as tab:
        tab.go()
        assert tab.page.evaluate("document.documentElement.lang") == "zh"
        for page in ("train", "results", "predict", "plugins", "data"):
            tab.follow(page)
            tab.fits(390)
    context.close()


def a_server_that_was_closed_is_said(tab, server):
    server.kill()
    tab.see("common.closed")
    tab.faults.clear()  # requests that nobody answered
