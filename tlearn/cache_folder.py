"""The user's cache folder, for what can be made again: activations, unpacked archives."""

import os
from pathlib import Path

import platformdirs

CACHE = "TLEARN_CACHE"


def cache_folder() -> Path:
    """Return ``$TLEARN_CACHE``, or the user's cache folder of this system."""
    chosen = os.environ.get(CACHE)
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("tlearn", False))
