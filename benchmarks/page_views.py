"""What each view of the page takes, in a real browser: wall seconds, and CPU seconds of its server.

Every view is loaded anew, with the program of the page; then the five pages are gone to by their
links. The wall time is that from the navigation to the last element. The CPU time goes on until
nothing has moved for a second, so that a scan that the view began counts, too.
"""

import contextlib
import io
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from benchmarks.common import WEIGHTS, finetune, keras_home
from benchmarks.growth import draw
from tlearn.config import RunConfig
from tlearn.runs.job_queue import JobQueue

TIMES = 5
PORT = 8907
PHOTOS, CLASSES = 50_000, 200
QUIET = 1.0  # seconds without a change after which a view is complete
BROWSER = "--no-sandbox --headless --disable-gpu".split()
TABS = "classes check problems split history".split()
RESULTS = "mistakes confusion classes threshold unsure curves export settings".split()
VIEWS = {
    **{f"data, {tab}": f"?data={{data}}&view=tab_{tab}" for tab in TABS},
    "data, one class": "?data={data}&class={label}",
    "train": "train?data={data}",
    **{f"results, {tab}": f"results?run=first&view={tab}" for tab in RESULTS},
    "predict": "predict?run=first",
    "plugins": "plugins",
}
PAGES = "Data Train Results Predict Plugins".split()
SETTLED = "[data-test-connection-state=CONNECTED][data-test-script-state=notRunning]"
SHOWN = f"""() => document.querySelector('[data-testid=stApp]{SETTLED} h1')
    && !document.querySelector('[data-testid=stSkeleton]')
    && [...document.images].every(image => image.complete)"""
Rows = dict[str, dict[str, float]]  # by view
Hold = Callable[[], None]  # called before each view, so that a state goes on


class Page:
    """A server on folders of its own, and a tab of Chromium."""

    def __init__(self, place: Path, browser: Any) -> None:
        self.data, self.runs = place / "data", place / "runs"
        command = ["-m", "tlearn", "ui", "--no-browser", "--port", str(PORT)]
        command += ["--data-root", str(self.data), "--runs-root", str(self.runs)]
        environment = {**keras_home(), **os.environ, "TLEARN_CACHE": str(place / "cache")}
        self.process = subprocess.Popen(
            [sys.executable, *command], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self.process.stdout
        self.token = self.process.stdout.readline().split("token=")[1].split()[0]
        self.server = psutil.Process(self.process.pid)
        self.context = browser.new_context(locale="en-GB")
        self.tab = self.open("")

    def open(self, address: str) -> Any:
        """Open a page in a new tab."""
        tab = self.context.new_page()
        tab.set_default_timeout(120_000)
        tab.goto(f"http://127.0.0.1:{PORT}/{address}?token={self.token}")
        tab.wait_for_function(SHOWN)
        return tab

    def cpu(self) -> float:
        """Return the CPU seconds of the server, without other processes."""
        times = self.server.cpu_times()
        return float(times.user + times.system)

    def view(self, address: str) -> tuple[float, float]:
        """Show a view; return wall seconds to its last element, and CPU seconds of the server."""
        return self._timed(lambda: self.tab.goto(f"http://127.0.0.1:{PORT}/{address}"), SHOWN)

    def follow(self, title: str) -> tuple[float, float]:
        """Go to a page by its link; return the same."""
        link = self.tab.get_by_role("link", name=title).first
        there = f"() => document.querySelector('h1')?.innerText.trim() == '{title}' && ({SHOWN})()"
        return self._timed(link.click, there)

    def _timed(self, go: Callable[[], object], shown: str) -> tuple[float, float]:
        self.tab.bring_to_front()  # a browser draws other tabs once a second
        before, start = self.cpu(), time.perf_counter()
        go()
        self.tab.wait_for_function(shown)
        wall = time.perf_counter() - start
        self.tab.wait_for_timeout(1000 * QUIET)
        self.tab.wait_for_function(SHOWN)
        return wall, self.cpu() - before


@contextlib.contextmanager
def idle(page: Page) -> Iterator[Hold]:
    """Do nothing else."""
    yield lambda: None


@contextlib.contextmanager
def training(page: Page) -> Iterator[Hold]:
    """Train while views are measured."""
    queue = JobQueue(page.runs)
    network = {"backbone": "mobilenet_v2", "weights": WEIGHTS}
    stages = [{"unfreeze": "block_13_expand", "epochs": 1000}]
    config = RunConfig.model_validate(network | {"stages": stages})
    run = queue.submit(page.data / "small", config, "second")
    while '"epoch"' not in (run / "events.jsonl").read_text("utf-8"):
        time.sleep(1)
    yield lambda: None
    queue.stop(run.name)
    while queue.jobs():
        time.sleep(1)


@contextlib.contextmanager
def arriving(page: Page) -> Iterator[Hold]:
    """Upload archives, unpack and read them while views are measured."""
    packed, tab = pack(page.data.parent / "many.zip"), page.open("")

    def hold() -> None:
        if tab.get_by_role("progressbar").count():
            return
        tab.goto(f"http://127.0.0.1:{PORT}/?data=small")
        tab.locator("summary").first.click()
        tab.get_by_role("radio", name=re.compile("upload", re.I)).first.click(force=True)
        with tab.expect_file_chooser() as chooser:
            tab.locator(".uploader button.files").first.click()
        chooser.value.set_files(packed)
        tab.get_by_role("progressbar").first.wait_for()

    yield hold
    tab.close()


STATES = {"idle": idle, "training": training, "50,000 arrive": arriving, "50,000 present": idle}


def pack(file: Path) -> Path:
    """Write a zip of small photos with contents of their own, many per class."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(file, "w") as archive:
        for k in range(CLASSES):
            out = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(out, "JPEG")
            for i in range(PHOTOS // CLASSES):  # what follows the picture makes another content
                archive.writestr(f"many/class {k}/{i}.jpg", out.getvalue() + f"{k} {i}".encode())
    return file


def measure(page: Page, state: str, times: int) -> Rows:
    """Return medians of wall and CPU seconds of every view, and the longest wall time."""
    large = state == "50,000 present"
    names = {"data": "large", "label": "class 7"} if large else {"data": "small", "label": "a"}
    rows = {}
    with STATES[state](page) as hold:
        for view, address in VIEWS.items():
            page.view(address.format(**names))  # the first scan, the first check
            pairs = []
            for _ in range(times):
                hold()
                pairs.append(page.view(address.format(**names)))
            rows[view] = summary(pairs)
            print(f"  {state}, {view}: {rows[view]}", flush=True)
        for title in PAGES:
            page.follow(title)
        followed: dict[str, list[tuple[float, float]]] = {title: [] for title in PAGES}
        for title in PAGES * times:
            hold()
            followed[title].append(page.follow(title))
        for title, pairs in followed.items():
            rows[link_to(title)] = summary(pairs)
    return rows


def summary(pairs: list[tuple[float, float]]) -> dict[str, float]:
    """Return medians of wall and CPU seconds, and the longest wall time."""
    wall, cpu = (statistics.median(column) for column in zip(*pairs, strict=True))
    return {"wall": wall, "cpu": cpu, "longest": max(pairs)[0]}


def link_to(title: str) -> str:
    """Return what the row of a page is called that is gone to by its link."""
    return f"link to {title}"


def pages(states: Iterable[str] = STATES, times: int = TIMES) -> dict[str, Rows]:
    """Measure every view in every state."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as player:
        place = Path(folder)
        draw(place / "data/small", 1000)
        network = ("--backbone", "mobilenet_v2", "--weights", WEIGHTS, "--preset", "quick")
        finetune(place / "data/small", place / "runs/first", place / "cache", *network)
        with zipfile.ZipFile(pack(place / "large.zip")) as archive:
            archive.extractall(place)
        browser = player.chromium.launch(executable_path="/usr/bin/chromium", args=BROWSER)
        page = Page(place, browser)
        try:
            results = {}
            for state in states:
                if state == "50,000 present":
                    (place / "many").rename(page.data / "large")
                results[state] = measure(page, state, times)
            return results
        finally:
            page.process.terminate()
            page.process.wait()


def pages_tables(results: dict[str, Rows]) -> list[str]:
    """Return wall and CPU seconds by view and state as a table in Markdown."""
    lines = [f"| view | {' | '.join(results)} |", f"|---|{'---|' * len(results)}"]
    for view in (*VIEWS, *map(link_to, PAGES)):
        of_view = (rows[view] for rows in results.values())
        cells = (f"{row['wall']:.2f} s, {row['cpu']:.2f} CPU" for row in of_view)
        lines.append(f"| {view} | {' | '.join(cells)} |")
    return lines
