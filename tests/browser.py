"""What tests with a real browser share: Chromium, and a tab that speaks in the page's texts."""

import contextlib
import os
import re
import shutil
import time
from pathlib import Path

from serving import until

from tlearn.web.i18n import texts_for

with contextlib.suppress(ImportError):  # the tests that need it are skipped
    from playwright.sync_api import TimeoutError

ARGUMENTS = (
    "--no-sandbox --headless --disable-gpu --disable-background-networking "
    "--disable-component-update --disable-sync --use-fake-ui-for-media-stream "
    "--use-fake-device-for-media-stream"
).split()
WIDTHS = (390, 820, 1280)
# What is asked for and not there, without harm: Streamlit looks for its server at every level of
# the address, and forgets the pictures of a view that was left before they were fetched.
HARMLESS = ("/_stcore/", "/media/")
FAILED_LOADS = ("Failed to load resource", "Image source error")  # seen as responses, too
# A server that a test ended on purpose; one that ended by itself fails the test otherwise.
GONE = ("disconnected from server", "reaching server endpoint", "server is not responding")


def chromium():
    """Return the path of Chromium, or ``None``."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Tab:
    """A tab of the browser, on a server.

    Texts are keys of the page's texts, such as ``data.rename``, with their values; what is no key
    stands for itself.

    Attributes:
        faults: What went wrong unseen: errors of scripts, failed requests, requests elsewhere.
    """

    def __init__(self, server, browser, locale="en-GB", **options):
        self.server, self.t = server, texts_for(locale)
        self.faults = []
        options = {"viewport": {"width": 1280, "height": 860}, **options}
        self.context = browser.new_context(locale=locale, permissions=["camera"], **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.page.on("console", self._listen)
        self.page.on("response", self._answered)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self._look(request.url))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.context.close()
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
        self.page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")

    def see(self, key, seconds=60, **values):
        """Wait until a text is seen; return the element."""
        seen = self.page.get_by_text(self.text(key, **values)).filter(visible=True).first
        try:
            seen.wait_for(timeout=1000 * seconds)
        except TimeoutError:
            text = self.page.inner_text("body")
            raise AssertionError(f"{self.text(key, **values)!r} is not seen in: {text}") from None
        return seen

    def button(self, key, **values):
        return self.page.get_by_role("button", name=self.text(key, **values)).last

    def repeat(self, act, outcome, seconds=60):
        """Act until it has an outcome: a page that is being run at that moment hears no click."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            self.settle()
            with contextlib.suppress(TimeoutError):
                act()
            with contextlib.suppress(AssertionError):
                return until(outcome, 5)
        raise AssertionError(f"not within {seconds} seconds: {self.page.inner_text('body')}")

    def press(self, key, then=None, values=None, **given):
        """Press a button, again until the text ``then`` is seen, or ``then()`` is true."""
        button = self.button(key, **(values or {}))
        button.wait_for()
        if then is None:
            self.settle()
            button.click()
            self.settle()
            return
        text = None if callable(then) else self.page.get_by_text(self.text(then, **given)).first
        self.repeat(lambda: button.click(timeout=3000), then if text is None else text.is_visible)

    def keyed(self, key):
        """Return the part of the page that was given this key."""
        escaped = re.sub(r"\W", "-", key)
        return self.page.locator(f"[class~='st-key-{key}'], [class~='st-key-{escaped}']").first

    def fill(self, key, value, field=None):
        """Type into a field, again until it keeps the value: one that is shown anew forgets it."""
        exact = {"name": self.text(key), "exact": True}
        box = self.page.get_by_role("textbox", **exact)
        field = field or box.or_(self.page.get_by_role("combobox", **exact)).last

        def type_in():
            field.fill(value)
            field.press("Enter")
            self.settle()

        self.repeat(type_in, lambda: field.input_value() == value)

    def unfold(self, key, content):
        """Open a fold, again until its content is seen: one that is shown anew may be closed."""
        title = self.page.locator("summary").filter(has_text=self.text(key)).first
        seen = content.filter(visible=True).count
        self.repeat(lambda: seen() or title.click(), seen)

    def choose(self, key, option):
        """Choose an option in a select box."""
        self.page.get_by_role("combobox", name=self.text(key)).last.click()
        self.page.get_by_role("option", name=option, exact=True).click()
        self.settle()

    def view(self, key):
        """Choose one of several views, or a preset."""
        name = self.text(key)
        self.page.get_by_role("radio", name=name).or_(
            self.page.locator("button").filter(has_text=re.compile(rf"^\W*{re.escape(name)}$"))
        ).first.click(force=True)
        self.settle()

    def upload(self, files, folder=False):
        """Give files to the field for them; a folder as its path."""
        self.settle()
        button = self.page.locator(f".uploader button.{'folder' if folder else 'files'}")
        # It has its label as soon as it listens.
        button.filter(has_text=re.compile(r"\w")).first.wait_for()
        choosers = []
        self.page.once("filechooser", lambda chooser: choosers.append(chooser))
        self.repeat(button.first.click, lambda: choosers or self.page.wait_for_timeout(100))
        choosers[0].set_files(files)

    def download(self, key):
        """Click what gives a file; return where it was put."""
        name = self.text(key)
        link = self.page.get_by_role("link", name=name).or_(self.button(key))
        with self.page.expect_download() as download:
            link.click()
        return download.value.path()

    def shot(self, name):
        """Keep a picture for the README, if asked to."""
        folder = os.environ.get("TLEARN_PICTURES")
        if folder:
            size = self.page.viewport_size
            self.page.set_viewport_size({"width": 1280, "height": 1000})
            self.page.wait_for_timeout(1500)  # pictures and charts come after the text
            self.page.screenshot(path=Path(folder) / f"{name}.png")
            self.page.set_viewport_size(size)

    def overflow(self):
        """Return by how many pixels the page is wider than the window."""
        return self.page.evaluate(
            "() => { const e = document.querySelector('[data-testid=stMain]');"
            " return Math.max(e.scrollWidth - e.clientWidth,"
            " document.documentElement.scrollWidth - window.innerWidth) }"
        )

    def fits(self):
        """Wait until the page is no wider than the window, at each of several widths."""
        size = self.page.viewport_size
        for width in WIDTHS:
            self.page.set_viewport_size({"width": width, "height": 900})
            until(lambda: self.overflow() <= 1, 20)
        self.page.set_viewport_size(size)
