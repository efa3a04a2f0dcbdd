"""The page in a real browser: journeys, each on a server and folders of its own."""

import csv
import json
import shutil
import zipfile

import pytest
from browser import LOCALE, Tab, archive, chromium, photo_files
from conftest import draw_photos
from serving import until

from tlearn.data.scan import scan

pytest.importorskip("playwright.sync_api")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium() is None, reason="Chromium is not installed"),
]

PER_CLASS = 12


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
    try_at_once(tab)
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
    other.page.locator("[data-testid=stVegaLiteChart]").wait_for(timeout=180_000)  # some epochs
    tab.page.reload()  # as after closing the browser
    tab.see(job(tab, "colours", "running"))
    running = tab.page.locator("[data-testid=stVerticalBlock]").filter(
        has_text=job(tab, "colours", "running")
    )
    stop = running.last.get_by_role("button", name=tab.text("job.stop")).first
    tab.repeat(stop.click, lambda: any(server.runs.rglob("stop")))
    hold.unlink()
    for each in (tab, other):
        each.see(job(each, "colours", "stopped"), 180)
    assert was_stopped(server)


def resume_in_another_tab(other, hold):
    """The one that waited has its turn first."""
    other.see(job(other, "second", "finished"), 240)
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


def try_at_once(tab):
    """A press is heard, and the other page comes whole, while the one before shows itself anew."""
    for name in ("colours", "second") * 2:
        tab.page.get_by_role("link", name=tab.text("train.title")).first.click()
        link = tab.keyed(f"go-primary-predict-{name}").or_(tab.keyed(f"go-plain-predict-{name}"))
        link.locator("a").click(timeout=60_000)
        camera = tab.page.get_by_role("radio", name=tab.text("predict.camera"))
        camera.wait_for(timeout=60_000)
        tab.page.wait_for_timeout(1500)  # longer than moving parts rest
        assert camera.is_visible() and f"/predict?run={name}" in tab.page.url
        assert tab.field("results.run").input_value() == name
    tab.follow("train")
    tab.follow("predict")
    tab.page.wait_for_url("**/predict?run=*")  # which is no step of its own
    tab.page.go_back()
    tab.page.wait_for_url("**/train*")
    tab.see("train.start")


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
    images = tab.page.locator("[data-testid=stImage] img").filter(visible=True)
    until(lambda: images.count() == 6, 60)  # they come one by one


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
