"""What tests with a real browser share: Chromium, and a tab that speaks in the page's texts."""

import contextlib
import io
import re
import shutil
import time
import zipfile

from serving import until

from tlearn.web.i18n import texts_for

with contextlib.suppress(ImportError):  # the tests that need it are skipped
    from playwright.sync_api import TimeoutError

ARGUMENTS = (
    "--no-sandbox --headless --disable-gpu --disable-background-networking "
    "--disable-component-update --disable-sync --use-fake-ui-for-media-stream "
    "--use-fake-device-for-media-stream"
).split()
LOCALE = "en-GB"
WIDTHS = (390, 820, 1280)
# What is asked for and not there, without harm: Streamlit looks for its server at every level of
# the address, and forgets the pictures of a view that was left before they were fetched.
HARMLESS = ("/_stcore/", "/media/")
FAILED_LOADS = ("Failed to load resource", "Image source error")  # seen as responses, too
# A server that a test ended on purpose; one that ended by itself fails the test otherwise.
GONE = ("disconnected from server", "reaching server endpoint", "server is not responding")
# A plugin with which a training waits after some epochs while there is a file called hold.
PACE = """
import time
from pathlib import Path
from tlearn.backbones import hookimpl

HOLD = Path(__file__).with_name("hold")

def wait(epoch, logs):
    while epoch > 1 and HOLD.exists():
        time.sleep(0.05)

@hookimpl
def tlearn_callbacks(stage, run):
    import keras
    return keras.callbacks.LambdaCallback(on_epoch_begin=wait)
"""


def chromium():
    """Return the path of Chromium, or ``None``."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def write_pace_plugin(folder):
    (folder / "tlearn_pace.py").write_text(PACE)
    info = folder / "tlearn_pace-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tlearn-pace\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tlearn]\npace = tlearn_pace\n")


def archive(name, files):
    """Return a zip as it is given to a field for files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return {"name": name, "mimeType": "application/zip", "buffer": out.getvalue()}


def photo_files(folder):
    return sorted(folder.rglob("*.png"))


class Tab:
    """A tab of the browser, on a server.

    Texts are keys of the page's texts, such as ``data.rename``, with their values; what is no key
    stands for itself.

    Attributes:
        faults: What went wrong unseen: errors of scripts, failed requests, requests elsewhere.
    """

    def __init__(self, server, context, locale=LOCALE):
        self.server, self.t = server, texts_for(locale)
        self.faults = []
        self.page = context.new_page()
        # An act that a page being run does not let through is repeated: see ``repeat``.
        self.page.set_default_timeout(5000)
        self.page.set_default_navigation_timeout(60_000)
        self.page.on("console", self._listen)
        self.page.on("response", self._answered)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self._look(request.url))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.page.close()
        assert kind or not self.faults, self.faults

    def _listen(self, message):
        if message.type == "error" and not any(
            text in message.text for text in FAILED_LOADS + GONE
        ):
            self.faults.append(message.text)

    def _answered(self, response):
        if response.status >= 400 and not any(part in response.url for part in HARMLESS):
            self.faults.append(f"{response.status}: {response.url}")

    def _look(self, url):
        own = f"//127.0.0.1:{self.server.port}/"
        if own not in url and not url.startswith(("data:", "blob:")):
            self.faults.append(f"asked elsewhere: {url}")

    def text(self, key, **values):
        """Return a text as it is seen: values filled in, without the marks of Markdown."""
        text = self.t(key, **values) if key in self.t.words else key
        return text.replace("**", "")

    def go(self, path=""):
        self.page.goto(self.server.url(path))
        self.settle()

    def settle(self):
        """Wait until the page has been run to its end."""
        settled = "[data-test-connection-state=CONNECTED][data-test-script-state=notRunning]"
        self.page.wait_for_selector(f"[data-testid=stApp]{settled}", timeout=60_000)

    def shown(self, key, **values):
        """Return the element of a text, seen or not yet."""
        return self.page.get_by_text(self.text(key, **values)).filter(visible=True).first

    def see(self, key, seconds=60, **values):
        """Wait until a text is seen."""
        try:
            self.shown(key, **values).wait_for(timeout=1000 * seconds)
        except TimeoutError:
            text = self.page.inner_text("body")
            raise AssertionError(f"{self.text(key, **values)!r} is not seen in: {text}") from None

    def button(self, key, **values):
        return self.page.get_by_role("button", name=self.text(key, **values)).last

    def repeat(self, act, outcome):
        """Act until it has an outcome: a page that is shown anew at that moment hears nothing."""
        limit = time.monotonic() + 60
        while time.monotonic() < limit:
            self.settle()
            with contextlib.suppress(TimeoutError, AssertionError):
                if not outcome():
                    act()
                until(outcome, 5)
                return
        raise AssertionError(f"not within a minute: {self.page.inner_text('body')}")

    def press(self, key, then, values=None, **given):
        """Press a button, again until the text ``then`` is seen, or ``then()`` is true."""
        outcome = then if callable(then) else self.shown(then, **given).is_visible
        self.repeat(self.button(key, **(values or {})).click, outcome)

    def unfold(self, key, content):
        """Open a fold, until its content is seen."""
        title = self.page.locator("summary").filter(has_text=self.text(key)).first

        def open_it():
            if not title.evaluate("title => title.parentElement.open"):
                title.click()

        self.repeat(open_it, content.filter(visible=True).count)

    def keyed(self, key):
        """Return the part of the page that was given this key."""
        escaped = re.sub(r"\W", "-", key)
        return self.page.locator(f"[class~='st-key-{key}'], [class~='st-key-{escaped}']").first

    def field(self, key):
        exact = {"name": self.text(key), "exact": True}
        box = self.page.get_by_role("textbox", **exact)
        return box.or_(self.page.get_by_role("combobox", **exact)).last

    def fill(self, field, value):
        """Type into a field, again until it keeps the value: one that is shown anew forgets it."""

        def type_in():
            field.fill(value)
            field.press("Enter")
            self.settle()

        self.repeat(type_in, lambda: field.input_value() == value)

    def submit(self, field, value, then, **given):
        """Type into the field of a form and press Enter, again until a text is seen."""

        def type_in():
            field.fill(value)
            field.press("Enter")

        self.repeat(type_in, self.shown(then, **given).is_visible)

    def enter(self, opener, key, value, button, then):
        """Open a popover, type into its field, press its button: all again until a text is seen."""

        def all_of_it():
            field = self.field(key)
            if not field.is_visible():
                self.button(opener).click()
            field.fill(value)
            field.press("Enter")
            self.settle()
            self.button(button, count=1).click()

        self.repeat(all_of_it, self.shown(then).is_visible)

    def view(self, key):
        """Choose one of several views, or a preset."""
        name = re.compile(rf"(^|\s){re.escape(self.text(key))}")  # perhaps after an icon
        radio = self.page.get_by_role("radio", name=name).first
        self.repeat(lambda: radio.click(force=True), radio.is_checked)
        self.settle()

    def follow(self, page):
        """Go to another page by its link."""
        title = self.text(f"{page}.title")
        link = self.page.get_by_role("link", name=title).filter(visible=True).first
        seen = self.page.locator("h1").filter(has_text=title)
        self.repeat(link.click, lambda: seen.is_visible() and title in self.page.title())

    def take_photo(self, then):
        """Take a photo, as soon as the camera has a picture."""

        def take():
            self.page.wait_for_function("document.querySelector('video')?.readyState > 1")
            self.button("Take Photo").click()

        self.repeat(take, then)

    def upload(self, files, folder=False):
        """Give files to the field for them; a folder as its path."""
        button = self.page.locator(f".uploader button.{'folder' if folder else 'files'}")
        # It has its label as soon as it listens.
        button = button.filter(has_text=re.compile(r"\w"), visible=True).first
        choosers = []
        self.page.once("filechooser", lambda chooser: choosers.append(chooser))
        self.repeat(button.click, lambda: choosers or self.page.wait_for_timeout(100))
        choosers[0].set_files(files)

    def download(self, key):
        """Click what gives a file; return where it was put."""
        name = re.compile(rf"(^|\s){re.escape(self.text(key))}$")  # perhaps after an icon
        link = self.page.get_by_role("link", name=name).or_(
            self.page.get_by_role("button", name=name)
        )
        with self.page.expect_download(timeout=60_000) as download:
            link.last.click()  # a table has a button of this name, too
        return download.value.path()

    def overflow(self):
        """Return by how many pixels the page is wider than the window."""
        return self.page.evaluate(
            "() => { const e = document.querySelector('[data-testid=stMain]');"
            " return Math.max(e.scrollWidth - e.clientWidth,"
            " document.documentElement.scrollWidth - window.innerWidth) }"
        )

    def fits(self, *widths):
        """Wait until the page is no wider than the window, at each of several widths."""
        size = self.page.viewport_size
        for width in widths or WIDTHS:
            self.page.set_viewport_size({"width": width, "height": 900})
            until(lambda: self.overflow() <= 1, 20)
        self.page.set_viewport_size(size)
