"""Opening object stores such as ``s3://bucket/folder`` through fsspec, and asking them in time."""

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from tlearn.errors import TlearnError, one_line

T = TypeVar("T")
SECONDS = 60.0  # that a store has to answer what is asked of it, other than contents
ADVICE = "check the address, the credentials and the network"
_URL = re.compile(r"[a-z][a-z0-9+.-]*(::[a-z0-9+.-]*)*://", re.IGNORECASE)
_NAME_WITH_COLONS = re.compile(r"[a-z][a-z0-9+.-]*://(?!.*::[a-z0-9+.-]*://).*::", re.IGNORECASE)


def is_url(place: object) -> bool:
    """Return whether a place is in a store, as ``s3://bucket/folder``, and no path."""
    return _URL.match(str(place)) is not None


def open_store(url: str, error: type[TlearnError]) -> tuple[Any, str]:
    """Return the file system of fsspec that a URL is in, and its path there.

    Nothing is read yet. A path without a protocol is one of this machine. Credentials and addresses
    come from where the package of the protocol looks for them, or from fsspec's configuration.

    Raises:
        TlearnError: As ``error``, if a package is missing or the URL is not valid.
    """
    try:
        import fsspec
        from fsspec.registry import known_implementations
    except ImportError:
        raise error(f"{url!r} needs fsspec: pip install 'tlearn[storage]'") from None
    local = {} if is_url(url) else {"auto_mkdir": True}
    try:
        if _NAME_WITH_COLONS.match(url):  # in which fsspec would see one protocol on another
            top = "/".join(url.split("/")[:3])
            filesystem, path = fsspec.url_to_fs(top)
            path += url[len(top) :]
        else:
            filesystem, path = fsspec.url_to_fs(url, **local)
    except ImportError:
        protocol = url.partition("://")[0]
        known = known_implementations.get(protocol, {"class": protocol})
        package = known["class"].partition(".")[0]
        raise error(f"{url!r} needs the package {package}: pip install {package}") from None
    except Exception as reason:  # noqa: BLE001 - of any package
        raise error(
            f"{url!r} cannot be opened: {one_line(reason)}; give a URL such as s3://bucket/folder, "
            f"of a protocol that fsspec knows"
        ) from None
    if not path.strip("/"):
        raise error(f"{url!r} names no place in a store; give one, such as s3://bucket/folder")
    return filesystem, path.rstrip("/")


@contextlib.contextmanager
def store_errors_as(kind: type[TlearnError], what: str, advice: str) -> Iterator[None]:
    """Raise errors of a store, of whatever package, as one line for users.

    Args:
        kind: The error to raise instead.
        what: What could not be done, as in "'s3://photos' cannot be listed".
        advice: What to do about it.
    """
    try:
        yield
    except TlearnError:
        raise
    except Exception as error:  # noqa: BLE001 - botocore's are not OSErrors
        reason = one_line(error)
        if isinstance(error, PermissionError):
            reason = f"no permission ({reason})"
        raise kind(f"{what}: {reason}; {advice}") from None


def answer_in_time(work: Callable[[], T], seconds: float | None = None) -> T:
    """Return what a call to a store returns.

    Raises:
        TimeoutError: If it has not returned after so many seconds, ``SECONDS`` if not given; it is
            left to itself.
    """
    seconds = seconds or SECONDS
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"no answer within {seconds:g} seconds")
    return results[0]
