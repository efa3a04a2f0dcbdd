"""Runs in a store: worked on in a mirror on this machine, which is kept like the store.

    <cache>/runs/<hash of the URL>/store.json    the URL, and what is the same at both places
    <cache>/runs/<hash of the URL>/<name>/       the run directory

A training writes into the mirror; what has changed there is uploaded every half a minute and at the
end, so that another machine can resume it. What changes in the store is downloaded when the run is
opened.
"""

import contextlib
import hashlib
import json
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tlearn.atomic import atomic_file
from tlearn.cache_folder import cache_folder
from tlearn.errors import RunError, TlearnError, os_errors_as
from tlearn.object_stores import StorePath, as_path
from tlearn.runs.run_state import EVENTS, state_of

MIRRORS = "runs"
RECORD = "store.json"
SECONDS = 30.0  # between uploads during a training
AT_ONCE = 8  # files that are transferred
LEASE = ".training.json"  # in the store: which machine trains the run, and when it last said so
LEASE_SECONDS = 120.0  # after which a machine that said nothing counts as gone


def new_mirror(url: StorePath) -> Path:
    """Return where a run is made that goes to a store; nothing is there by then.

    Raises:
        RunError: If the store has something at that place.
        StoreError: If the store does not answer.
    """
    path = _mirror(url)
    if url.exists():
        raise RunError(
            f"{str(url)!r} exists already; choose another --out or remove it, or continue it "
            f"with --resume {url}"
        )
    if path.is_dir() and state_of(path) == "running":
        raise RunError(f"another process trains {str(url)!r}; choose another --out")
    shutil.rmtree(path.parent, ignore_errors=True)
    _write_record(path, {"url": str(url), "files": {}})
    return path


def local_run(place: object) -> Path:
    """Return the run directory on this machine of a path or URL, downloaded if need be.

    Raises:
        RunError: If there is no such run in the store, or it cannot be written to this machine.
        StoreError: If the store does not answer.
    """
    url = as_path(str(place))
    if not isinstance(url, StorePath):
        return url
    path = _mirror(url)
    if path.is_dir() and state_of(path) == "running":
        return path
    versions = _versions(url) if url.is_dir() else {}
    if "run.yaml" not in versions:
        raise RunError(
            f"{str(url)!r} is no run directory: it holds no run.yaml; give one that 'tlearn "
            f"finetune' made, or train anew"
        )
    with os_errors_as(RunError, f"the run {str(url)!r} cannot be copied", "make room on the disk"):
        _download(url, path, versions)
    return path


def url_of(path: Path) -> StorePath | None:
    """Return the URL that a run directory mirrors, if it is such."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return StorePath(json.loads((path.parent / RECORD).read_text(encoding="utf-8"))["url"])
    return None


def upload_changes(path: Path) -> None:
    """Make the store like a run directory, if it mirrors one; else do nothing.

    Raises:
        RunError: If it cannot be written.
    """
    url = url_of(path)
    if url is None:
        return
    try:
        _upload(url, path)
    except OSError as error:
        raise RunError(
            f"the run {str(url)!r} cannot be written: {error.strerror or error}; it is in the "
            f"cache of this machine, and --resume or another command uploads it"
        ) from None


@contextlib.contextmanager
def uploading(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Upload what changes in a run directory, if it mirrors one in a store, now and until the end.

    Args:
        path: The run directory.
        say: Called with a line where it cannot be uploaded meanwhile, once.

    Raises:
        RunError: If it cannot be written at the beginning or at the end, or another machine
            trains it.
    """
    url = url_of(path)
    if url is None:
        yield
        return
    ended = threading.Event()
    failures: list[TlearnError] = []

    def upload() -> None:
        _lease(url, path)
        upload_changes(path)

    def keep_uploading() -> None:
        while not ended.wait(SECONDS):
            try:
                upload()
            except TlearnError as error:
                if not failures:
                    say(f"{error}; it is tried again")
                failures.append(error)

    with _leased(url, path):
        upload_changes(path)
        thread = threading.Thread(target=keep_uploading, daemon=True)
        thread.start()
        try:
            try:
                yield
            finally:
                ended.set()
                thread.join()
        except BaseException:
            with contextlib.suppress(TlearnError):  # what went wrong before is what matters
                upload()
            raise
        upload()


@contextlib.contextmanager
def _leased(url: StorePath, path: Path) -> Iterator[None]:
    """Say in a store that this machine trains a run, and take it back at the end.

    Raises:
        RunError: If another one does.
        StoreError: If the store does not answer.
    """
    _lease(url, path)
    try:
        yield
    finally:
        with contextlib.suppress(TlearnError):  # another one's
            _lease(url, path)
            (url / LEASE).unlink(missing_ok=True)


def _lease(url: StorePath, path: Path) -> None:
    """Say so now; raise a RunError if another machine did less than ``LEASE_SECONDS`` ago."""
    here, now = f"{socket.gethostname()}:{path}", time.time()
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        lease = json.loads((url / LEASE).read_text())
        if lease["place"] != here and abs(now - float(lease["time"])) < LEASE_SECONDS:
            machine = str(lease["place"]).partition(":")[0]
            raise RunError(
                f"another machine, {machine!r}, trains the run {str(url)!r}; stop it there, or "
                f"wait for {LEASE_SECONDS:g} seconds after its end"
            )
    (url / LEASE).write_bytes(json.dumps({"place": here, "time": now}).encode())


def with_urls(text: str) -> str:
    """Return a text with the URLs of runs in place of where their mirrors are."""
    mirrors = re.escape(str(cache_folder() / MIRRORS))

    def replace(match: re.Match[str]) -> str:
        return str(url_of(Path(match[0])) or match[0])

    return re.sub(rf"{mirrors}[/\\][0-9a-f]{{24}}[/\\][^/\\'\"\s]+", replace, text)


def remove_mirrors() -> int:
    """Remove what is in stores, too, and in no training; return the bytes freed."""
    freed = 0
    for record in (cache_folder() / MIRRORS).glob(f"*/{RECORD}"):
        [path, *_] = [p for p in record.parent.iterdir() if p.is_dir()] or [record]
        files = _read_record(path)["files"]
        here = _stamps(path)
        same = all(files.get(name, ["", []])[1] == stamp for name, stamp in here.items())
        if same and not (path.is_dir() and state_of(path) == "running"):
            freed += sum(stamp[0] for stamp in here.values())
            shutil.rmtree(record.parent, ignore_errors=True)
    return freed


def _mirror(url: StorePath) -> Path:
    digest = hashlib.blake2b(str(url).encode(), digest_size=12).hexdigest()
    return cache_folder() / MIRRORS / digest / url.name


def _read_record(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((path.parent / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {"files": {}}


def _write_record(path: Path, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path.parent / RECORD) as temporary:
        temporary.write_text(json.dumps(record), encoding="utf-8")


def _versions(url: StorePath) -> dict[str, int]:
    """Return the files of a run in a store, with what changes when they do."""
    versions: dict[str, int] = {}
    with url.listed() as tree:
        for place, folder in tree.items():
            paths = (StorePath(place) / name for name in folder.names.to_pylist())
            names = (path.relative_to(url).as_posix() for path in paths)
            versions |= zip(names, folder.states[:, 2].tolist(), strict=True)
    return {name: version for name, version in versions.items() if not _is_hidden(name)}


def _is_hidden(name: str) -> bool:
    """Return whether a file is of one machine alone, such as one that is being written."""
    return any(part.startswith(".") for part in name.split("/"))


def _stamp(file: Path) -> list[int]:
    state = file.stat()
    return [state.st_size, state.st_mtime_ns]


def _stamps(path: Path) -> dict[str, list[int]]:
    """Return what changes with the files of a run directory; one may vanish meanwhile."""
    stamps = {}
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if not _is_hidden(name):
            with contextlib.suppress(FileNotFoundError):
                if file.is_file():
                    stamps[name] = _stamp(file)
    return stamps


def _download(url: StorePath, path: Path, versions: dict[str, int]) -> None:
    """Download what has changed in the store since both were alike."""
    known = _read_record(path)["files"]
    changed = [n for n, version in versions.items() if known.get(n, [""])[0] != version]

    def fetch(name: str) -> None:
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(target) as temporary:
            (url / name).download(temporary)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(fetch, changed))
    for name in known.keys() - versions.keys():
        (path / name).unlink(missing_ok=True)
    files = {name: [versions[name], known.get(name, ["", None])[1]] for name in versions}
    files |= {name: [versions[name], _stamp(path / name)] for name in changed}
    _write_record(path, {"url": str(url), "files": files})


def _upload(url: StorePath, path: Path) -> None:
    """Upload what has changed here since both were alike, what tells of the others last."""
    files, here = dict(_read_record(path)["files"]), _stamps(path)
    changed = [name for name, stamp in here.items() if files.get(name, ["", []])[1] != stamp]
    lock = threading.Lock()

    def note(name: str, state: list[Any] | None) -> None:
        # At once: what a killed process has uploaded must not count as changed by another machine.
        with lock:
            if state is None:
                del files[name]
            else:
                files[name] = state
            _write_record(path, {"url": str(url), "files": files})

    def upload(name: str) -> None:
        if (path / name).exists():  # else it is gone by now
            note(name, [(url / name).upload(path / name), here[name]])

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(upload, (name for name in changed if name != EVENTS)))
    if EVENTS in changed:
        upload(EVENTS)
    for name in files.keys() - here.keys():
        (url / name).unlink(missing_ok=True)
        note(name, None)
