"""What a worker returns of a shard of views: rows, or the files of a store where it put them."""

import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlearn.data.views import Rendering
from tlearn.errors import CacheError, one_line
from tlearn.features.activation_store import RowFile, put_rows
from tlearn.features.image_views import ImageViews, row_keys
from tlearn.store_access import answer_in_time, open_store

Returned = tuple[Mapping[str, np.ndarray | RowFile], str]  # by output; why there are no files


@dataclass(frozen=True)
class ShardRows:
    """Gives rows to the process that wants them, if possible through a store that both reach.

    Attributes:
        names: Of the outputs of the network, in their order.
        tables: The type of the rows of each output that is wanted, and the digest of its table.
        rendering: How views are made.
        store: The place of the store; none if it is empty.
        sign: The path of a file there that the process has written: what is put into a store that
            lacks it, such as a folder where nothing is mounted, it would never see.
    """

    names: Sequence[str]
    tables: Mapping[str, tuple[np.dtype, str]]
    rendering: Rendering
    store: str = ""
    sign: str = ""

    def start(self) -> Callable[[ImageViews, Sequence[np.ndarray]], Returned]:
        """Make ready what takes a shard and its outputs."""
        problem, files, root = "", None, ""
        if self.store:
            try:
                files, root = open_store(self.store, CacheError)
                if not answer_in_time(lambda: files.exists(self.sign)):
                    problem = "it is not the same there"
            except Exception as error:  # noqa: BLE001 - of any package
                problem = one_line(error)

        def finish(views: ImageViews, outputs: Sequence[np.ndarray]) -> Returned:
            nonlocal problem
            arrays = dict(zip(self.names, outputs, strict=True))
            rows = {
                name: np.ascontiguousarray(arrays[name], dtype)
                for name, (dtype, _) in self.tables.items()
            }
            if self.store and not problem:
                try:
                    return self._put(files, root, row_keys(self.rendering, views), rows), ""
                except Exception as error:  # noqa: BLE001 - of any package
                    problem = one_line(error)
            return rows, problem

        return finish

    def _put(
        self, files: Any, root: str, keys: Sequence[bytes], rows: Mapping[str, np.ndarray]
    ) -> dict[str, RowFile]:
        """Write rows into the store; return their files.

        A shard that is computed again, as where a node was lost, has files of the same names.
        """
        shard, result = self.sign.encode() + b"".join(keys), {}
        for name, array in rows.items():
            checksums = map(zlib.crc32, array)
            places = [*zip(keys, range(len(keys)), checksums, strict=True)]
            digest = self.tables[name][1]
            file = hashlib.blake2b(digest.encode() + shard, digest_size=16).hexdigest()
            result[name] = put_rows(files, root, digest, f"{file}.rows", array.tobytes(), places)
        return result
