"""Ask a server of ``tlearn serve``: python predict_client.py http://127.0.0.1:8000 PHOTO...

Needs: pip install httpx. A request that the server refuses as busy, or that breaks off, is sent
again.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

IMAGES = 16  # of a request
TRIES = 10


def predict(client: httpx.Client, paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the predictions for photos; what is refused for good raises an error."""
    files = [("images", (path.name, path.read_bytes(), "image/jpeg")) for path in paths]
    for attempt in range(TRIES):
        try:
            answer = client.post("/predict", files=files)
        except httpx.TransportError:  # the server is being started again, perhaps
            time.sleep(min(2**attempt, 30))
            continue
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            answer.raise_for_status()
            return list(answer.json()["predictions"])
        time.sleep(int(answer.headers["Retry-After"]))
    raise TimeoutError(f"no answer in {TRIES} attempts")


def main(address: str, names: Sequence[str]) -> Iterator[str]:
    """Yield a line for each photo."""
    with httpx.Client(base_url=address, timeout=90) as client:
        for start in range(0, len(names), IMAGES):
            paths = [Path(name) for name in names[start : start + IMAGES]]
            for path, record in zip(paths, predict(client, paths), strict=True):
                yield f"{path}\t{record['problem'] or record['label']}\t{record['probability']:.3f}"


if __name__ == "__main__":
    for line in main(sys.argv[1], sys.argv[2:]):
        print(line)
