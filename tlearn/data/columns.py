"""Columns of Arrow tables as arrays of NumPy: texts by numbers, and content hashes."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

HASH_BYTES = 16
HASH = pa.binary(HASH_BYTES)
NAMES = pa.large_string()
# Numbers into a list of different texts: for what many files have in common.
TEXTS = pa.dictionary(pa.int32(), NAMES)
CHUNK = 4096  # rows that are made into objects at a time where all are wanted one after another


class Codes(NamedTuple):
    """Texts of which many are the same, each as its number among the different ones.

    Attributes:
        numbers: Of each file, from 0, ``(n,)`` int32.
        texts: The different texts; there may be some that no file has.
    """

    numbers: np.ndarray
    texts: tuple[str, ...]

    @property
    def present(self) -> tuple[str, ...]:
        """The texts that a file has, in the order of the first file with each."""
        return tuple(self.counts())

    def counts(self) -> dict[str, int]:
        """Return how many files have each text, in the order of the first file with each."""
        numbers, first, counts = np.unique(self.numbers, return_index=True, return_counts=True)
        return {self.texts[numbers[i]]: int(counts[i]) for i in np.argsort(first)}

    def are(self, *texts: str) -> np.ndarray:
        """Return which files have one of some texts, ``(n,)`` bool."""
        return np.isin(self.numbers, [k for k, text in enumerate(self.texts) if text in texts])

    def as_numbers(self, texts: Sequence[str]) -> np.ndarray:
        """Return the place of each file's text among other texts, ``(n,)``; -1 if not there."""
        places = {text: place for place, text in enumerate(texts)}
        of_text = np.array([places.get(text, -1) for text in self.texts], np.int64)
        return np.asarray(of_text[self.numbers])

    def places(self) -> list[np.ndarray]:
        """Return where each of the different texts is, in order."""
        ends = np.cumsum(np.bincount(self.numbers, minlength=len(self.texts)))
        parts = np.split(np.argsort(self.numbers, kind="stable"), ends[:-1])
        return parts[: len(self.texts)]


def codes_of(texts: Iterable[str], first: Sequence[str] = ()) -> Codes:
    """Return texts by their numbers, in the order in which they come, after some first ones."""
    number_of = {text: number for number, text in enumerate(first)}
    numbers = (number_of.setdefault(text, len(number_of)) for text in texts)
    return Codes(np.fromiter(numbers, np.int32), (*number_of,))


def code_texts(numbers: np.ndarray, texts: Sequence[str]) -> Any:
    """Return an Arrow array of texts, each given by its number among the different ones."""
    codes = pa.array(numbers.astype(np.int32, copy=False))
    return pa.DictionaryArray.from_arrays(codes, pa.array(texts, pa.large_string()))


def array_of(texts: Iterable[str]) -> Any:
    """Return an Arrow array of texts, which are not all in memory at once."""
    rest = iter(texts)
    parts = [pa.array(part, NAMES) for part in iter(lambda: list(islice(rest, CHUNK)), [])]
    return pa.concat_arrays(parts) if parts else pa.array([], NAMES)


def texts_of(array: Any) -> Iterator[str]:
    """Yield the texts of an Arrow array, which are not all in memory at once."""
    for start in range(0, len(array), CHUNK):
        yield from array[start : start + CHUNK].to_pylist()


def fixed_bytes(array: Any) -> np.ndarray:
    """Return an Arrow array of so many bytes each as ``(n, bytes)`` uint8, without a copy."""
    width = array.type.byte_width
    if not len(array):
        return np.zeros((0, width), np.uint8)
    every = np.frombuffer(array.buffers()[1], np.uint8)[: (array.offset + len(array)) * width]
    return every.reshape(-1, width)[array.offset :]


def fixed_array(values: np.ndarray) -> Any:
    """Return an Arrow array of the rows of ``(n, bytes)`` uint8."""
    count, width = values.shape
    buffers = [None, pa.py_buffer(np.ascontiguousarray(values))]
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), count, buffers)


def hashes_of(texts: Any) -> np.ndarray:
    """Return the bytes of content hashes, ``(n, 16)`` uint8, of an Arrow array of their texts.

    Raises:
        ValueError: If one is no content hash.
    """
    parts = (texts[start : start + CHUNK].to_pylist() for start in range(0, len(texts), CHUNK))
    data = b"".join(bytes.fromhex("".join(part)) for part in parts)
    return np.frombuffer(data, np.uint8).reshape(len(texts), HASH_BYTES)
