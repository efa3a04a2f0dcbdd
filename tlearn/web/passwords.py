"""The page's password: kept as a salted hash; and the tickets of browsers that have shown it."""

import base64
import functools
import hashlib
import hmac
import os
import re
import secrets
import tempfile
import time
import unicodedata
from pathlib import Path

import platformdirs
import yaml

from tlearn.errors import ConfigError

LEAST, MOST = 10, 200  # characters of a password
SESSION = 7 * 24 * 3600  # seconds that a login lasts
COST = {"n": 2**15, "r": 8, "p": 1}  # of scrypt: 32 MiB and about 0.1 s per try
HASH = re.compile(r"scrypt\$([A-Za-z0-9+/]{22}==)\$([A-Za-z0-9+/]{86}==)")  # 16 and 64 bytes


def config_file() -> Path:
    """Return where the password's hash is kept."""
    folder = os.environ.get("TLEARN_CONFIG")
    return (Path(folder) if folder else platformdirs.user_config_path("tlearn")) / "ui.yaml"


def set_password(password: str) -> Path:
    """Keep a salted hash of a password (scrypt, RFC 7914); return the file it is in.

    Whoever is logged in has to log in again, on a server that runs already, too.

    Raises:
        ConfigError: If it is too short or too long, or the file cannot be written.
    """
    if not LEAST <= len(password) <= MOST:
        raise ConfigError(
            f"a password has {LEAST} to {MOST} characters, not {len(password)}; take another one"
        )
    text = yaml.safe_dump({"password": _hashed(password, secrets.token_bytes(16))})
    file = config_file()
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=".")  # read by nobody else
        temporary = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as new:
                new.write(text)
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the password cannot be kept in {str(file)!r}: {error.strerror}; set TLEARN_CONFIG to "
            f"a folder that can be written"
        ) from None
    return file


def password_hash() -> str:
    """Return the hash of the password, empty where none is set.

    Raises:
        ConfigError: If the file is damaged or cannot be read.
    """
    file = config_file()
    try:
        stat = file.stat()
        return _read(file, (stat.st_ino, stat.st_mtime_ns, stat.st_size))
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ConfigError(
            f"{str(file)!r} cannot be read: {error.strerror}; let it be read, or set TLEARN_CONFIG "
            f"to another folder"
        ) from None


@functools.lru_cache(maxsize=1)  # asked for at every request; read again when it has changed
def _read(file: Path, stamp: tuple[int, ...]) -> str:
    try:
        found = yaml.safe_load(file.read_text("utf-8"))["password"]
    except (ValueError, TypeError, KeyError, yaml.YAMLError):
        found = None
    if not isinstance(found, str) or not HASH.fullmatch(found):
        raise ConfigError(
            f"{str(file)!r} is damaged; set the password again with 'tlearn ui --set-password'"
        )
    return found


def right(password: str, kept: str) -> bool:
    """Tell whether a password is the one whose hash is kept."""
    salt = base64.b64decode(kept.split("$")[1])
    return hmac.compare_digest(_hashed(password, salt), kept)


def _hashed(password: str, salt: bytes) -> str:
    # Keyboards of different systems give different forms of the same letters.
    data = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
    digest = hashlib.scrypt(data, salt=salt, maxmem=2**26, **COST)
    return f"scrypt${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def new_ticket(kept: str) -> str:
    """Return what a logged-in browser shows: when it ends, signed; a new password ends all."""
    until = str(int(time.time()) + SESSION)
    return f"{until}.{_signature(until, kept)}"


def is_valid(ticket: str, kept: str) -> bool:
    """Tell whether a ticket was made by us for this password, and has not ended."""
    until, _, signature = ticket.partition(".")
    ours = hmac.compare_digest(signature.encode(), _signature(until, kept).encode())
    return ours and int(until) > time.time()  # a number, because we signed it


def _signature(until: str, kept: str) -> str:
    return hmac.new(kept.encode(), until.encode(), hashlib.sha256).hexdigest()
