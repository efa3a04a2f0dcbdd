"""Keeps Pillow and libtiff from printing about odd TIFF files: our errors and notes say it."""

import ctypes
import functools
import logging
from contextlib import suppress

from PIL import _imaging


@functools.cache
def silence() -> None:
    """Take away libtiff's printing, and what Python prints of Pillow's log where nobody reads it.

    For the whole process, once: a handler set for one thread would be another's, too. Errors are
    raised all the same. Where libtiff cannot be reached, as in Pillow's wheels for Windows, it goes
    on printing.
    """
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(_imaging.__file__)  # finds what it is linked with
        for set_handler in (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler):
            set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            set_handler(None)
