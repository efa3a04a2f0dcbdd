"""What tests with a real browser share: the server as a process of its own, and Chromium."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil

with contextlib.suppress(ImportError):  # the tests that need it are skipped
    from playwright.sync_api import TimeoutError

ARGUMENTS = (
    "--no-sandbox --headless --disable-gpu --disable-background-networking "
    "--disable-component-update --disable-sync --use-fake-ui-for-media-stream "
    "--use-fake-device-for-media-stream"
).split()


def chromium():
    """Return the path of Chromium, or ``None``."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(true, seconds=60):
    """Wait until something is true."""
    for _ in range(10 * seconds):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("it did not become true")


class Site:
    """``tlearn ui`` on folders of its own."""

    def __init__(self, place, env):
        self.data, self.runs, self.log = place / "photos", place / "runs", place / "server.log"
        self.env = os.environ | env
        self.port = free_port()
        self.process = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        command = [
            sys.executable,
            "-m",
            "tlearn",
            "ui",
            "--port",
            str(self.port),
            "--no-browser",
            "--data-root",
            str(self.data),
            "--runs-root",
            str(self.runs),
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=self.env, start_new_session=True
            )
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=5):
                    return self
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def kill(self):
        """End the server as a power cut would."""
        self.process.kill()
        self.process.wait()

    def close(self):
        """End the server and all that works for it."""
        self.kill()
        for process in psutil.process_iter(["cmdline"]):
            if any(str(self.runs) in word for word in process.info["cmdline"] or ()):
                process.kill()


class Tab:
    """A page in a browser, with the words that tests speak in."""

    def __init__(self, site, page):
        self.site, self.page = site, page
        self.faults = []
        page.set_default_timeout(60_000)
        page.on("console", self._listen)
        page.on("response", self._answered)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda request: self._look(request.url))

    def _listen(self, message):
        if message.type == "error" and not any(
            words in message.text for words in ("Failed to load resource", "Image source error")
        ):
            self.faults.append(message.text)

    def _answered(self, response):
        # Streamlit looks for its server at every level of the address, and forgets the pictures of
        # a view that was left before they were fetched.
        passing = ("/_stcore/", "/media/")
        if response.status >= 400 and not any(part in response.url for part in passing):
            self.faults.append(f"{response.status}: {response.url}")

    def _look(self, url):
        if not url.startswith(
            (self.site.url, self.site.url.replace("http", "ws"), "data:", "blob:")
        ):
            self.faults.append(f"asked elsewhere: {url}")

    def go(self, path=""):
        self.page.goto(f"{self.site.url}/{path}")
        self.settle()

    def settle(self):
        """Wait until the page has been run to its end."""
        self.page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")

    def see(self, text, seconds=60):
        found = self.page.get_by_text(text).first
        found.wait_for(timeout=1000 * seconds)
        return found

    def gone(self, text):
        self.page.get_by_text(text).first.wait_for(state="hidden")

    def press(self, name, then=None):
        """Press a button until a text is seen that comes of it.

        A page that is run at that moment, for what was typed just before, hears no click.
        """
        self.page.wait_for_timeout(300)
        self.settle()
        button = self.page.get_by_role("button", name=name).last
        button.click()
        for _ in range(6 if then else 0):
            with contextlib.suppress(TimeoutError):
                return self.see(then, 10)
            with contextlib.suppress(TimeoutError):
                button.click(timeout=2000)
        self.page.wait_for_timeout(200)
        self.settle()
        return self.see(then) if then else None

    def view(self, name):
        """Choose one of several views."""
        self.page.get_by_role("radio", name=name, exact=True).or_(
            self.page.locator("button").filter(has_text=name)
        ).first.click()
        self.settle()

    def upload(self, files, folder=False):
        self.settle()
        # It has its label as soon as it listens.
        button = self.page.locator(f".uploader button.{'folder' if folder else 'files'}")
        button.filter(has_text=re.compile(r"\w")).first.wait_for()
        self.page.wait_for_timeout(300)
        with self.page.expect_file_chooser() as chooser:
            button.first.click()
        chooser.value.set_files(files)

    def shot(self, name):
        """Keep a picture for the README, if asked to."""
        folder = os.environ.get("TLEARN_PICTURES")
        if folder:
            size = self.page.viewport_size
            self.page.set_viewport_size({"width": 1280, "height": 1000})
            self.page.wait_for_timeout(1500)  # pictures and charts come after the text
            self.page.screenshot(path=Path(folder) / f"{name}.png")
            self.page.set_viewport_size(size)

    def widths(self):
        """Return by how many pixels the page is wider than the window, at three widths."""
        size = self.page.viewport_size
        found = {}
        for width in (390, 820, 1280):
            self.page.set_viewport_size({"width": width, "height": 900})
            self.page.wait_for_timeout(300)
            found[width] = self.page.evaluate(
                "() => { const e = document.querySelector('[data-testid=stMain]');"
                " return Math.max(e.scrollWidth - e.clientWidth,"
                " document.documentElement.scrollWidth - window.innerWidth) }"
            )
        self.page.set_viewport_size(size)
        return found
