"""``python -m benchmarks.s3_server FOLDER BUCKET``: an S3 server that has a folder in a bucket.

It prints its address when it is ready, and ends with its standard input.
"""

import contextlib
import logging
import sys
from pathlib import Path

from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer

ACCOUNT = "123456789012"  # that moto takes all keys for


def main() -> None:
    """Serve the files of a folder, by their paths below its parent."""
    folder, bucket = Path(sys.argv[1]), sys.argv[2]
    backend = s3_backends[ACCOUNT]["aws"]
    backend.create_bucket(bucket, "us-east-1")
    for path in sorted(folder.rglob("*.*")):
        backend.put_object(bucket, path.relative_to(folder.parent).as_posix(), path.read_bytes())
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # which prints every request
    server = ThreadedMotoServer("127.0.0.1", 0)
    with contextlib.redirect_stdout(sys.stderr):  # it says more
        server.start()
        host, port = server.get_host_and_port()
    print(f"http://{host}:{port}", flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
