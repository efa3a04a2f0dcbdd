"""The page Data in a real browser: a journey on a server and folders of its own."""

import os
import re
from pathlib import Path

import pytest
from browser import Tab, archive, chromium, photo_files
from conftest import draw_photos
from serving import until

pytest.importorskip("playwright.sync_api")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium() is None, reason="Chromium is not installed"),
]

PER_CLASS = 12
NO_CAMERA = """() => {
  Object.defineProperty(navigator, "mediaDevices", { value: undefined });
  Object.defineProperty(window, "isSecureContext", { value: false });
}"""


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
    fix = tab.button("data.exclude", count=1)
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
    tab.go("data?data=colours")  # leads to the first page, too
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
    tab.press("data.add_photos", then=hold.is_visible)  # of the last class: it is on already
    tab.press("camera.close", then="camera.open")  # it would be on for a while after
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
    tab.repeat(
        tab.page.locator("button.cancel:visible").click, tab.shown("upload.cancelled").is_visible
    )
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
    tab.press("Page 2", then="012.png")
