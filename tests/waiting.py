"""Work for a cluster that lasts as long as a test wants."""

import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Waiting:
    """A computation that ends when a file is there."""

    file: Path

    def start(self, threads):
        def compute(shard):
            while not self.file.exists():
                time.sleep(0.1)
            return list(shard)

        return compute
