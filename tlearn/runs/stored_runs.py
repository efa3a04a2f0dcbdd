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
import shutil
import threading
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
ADVICE = "check the address, the credentials and the network"


def new_mirror(url: StorePath) -> Path:
    """Return where a run is made that goes to a store; nothing is there by then.

    Raises:
        RunError: If the store has something at that place, or does not answer.
    """
    path = _mirror(url)
    with os_errors_as(RunError, f"{str(url)!r} cannot be used", ADVICE):
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
        RunError: If there is no such run in the store, or it does not answer.
    """
    url = as_path(str(place))
    if not isinstance(url, StorePath):
        return url
    path = _mirror(url)
    if path.is_dir() and state_of(path) == "running":
        return path
    with os_errors_as(RunError, f"the run {str(url)!r} cannot be read", ADVICE):
        versions = _versions(url) if url.is_dir() else {}
        if "run.yaml" not in versions:
            raise RunError(
                f"{str(url)!r} is no run directory: it holds no run.yaml; give one that 'tlearn "
                f"finetune' made, or train anew"
            )
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
    what = f"the run {str(url)!r} cannot be written"
    advice = f"{ADVICE}; it is in {str(path)!r}, and --resume or another command uploads it"
    with os_errors_as(RunError, what, advice):
        _upload(url, path)


@contextlib.contextmanager
def uploading(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Upload what changes in a run directory, if it mirrors one in a store, now and until the end.

    Args:
        path: The run directory.
        say: Called with a line where it cannot be uploaded meanwhile, once.

    Raises:
        RunError: If it cannot be written at the beginning or at the end.
    """
    if url_of(path) is None:
        yield
        return
    ended = threading.Event()
    failures: list[TlearnError] = []

    def keep_uploading() -> None:
        while not ended.wait(SECONDS):
            try:
                upload_changes(path)
            except TlearnError as error:
                if not failures:
                    say(f"{error}; it is tried again")
                failures.append(error)

    upload_changes(path)
    thread = threading.Thread(target=keep_uploading, daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        ended.set()
        thread.join()
        with contextlib.suppress(TlearnError):  # what went wrong before is what matters
            upload_changes(path)
        raise
    ended.set()
    thread.join()
    upload_changes(path)


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


def _versions(url: StorePath) -> dict[str, str]:
    """Return the files of a run in a store, with what changes when they do."""
    url.list_tree()
    names: dict[str, str] = {}
    folders = [url]
    while folders:
        folder = folders.pop()
        for entry in folder.entries():
            if entry.is_dir():
                folders.append(folder / entry.name)
            else:
                file = folder / entry.name
                names[file.relative_to(url).as_posix()] = file.version()
    return names


def _stamp(file: Path) -> list[int]:
    state = file.stat()
    return [state.st_size, state.st_mtime_ns]


def _stamps(path: Path) -> dict[str, list[int]]:
    """Return what changes with the files of a run directory; one may vanish meanwhile."""
    stamps = {}
    for file in sorted(path.rglob("*")):
        if not file.name.startswith("."):
            with contextlib.suppress(FileNotFoundError):
                if file.is_file():
                    stamps[file.relative_to(path).as_posix()] = _stamp(file)
    return stamps


def _download(url: StorePath, path: Path, versions: dict[str, str]) -> None:
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

    def upload(name: str) -> None:
        if (path / name).exists():  # else it is gone by now
            files[name] = [(url / name).upload(path / name), here[name]]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(upload, (name for name in changed if name != EVENTS)))
    if EVENTS in changed:
        upload(EVENTS)
    for name in files.keys() - here.keys():
        (url / name).unlink(missing_ok=True)
        del files[name]
    if path.is_dir():
        _write_record(path, {"url": str(url), "files": files})
