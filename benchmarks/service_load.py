"""What ``tlearn serve`` stands: its throughput against the bare engine, and twice its capacity.

The load generator runs on the same cores, and what it takes of them counts against the server; its
CPU time is stated beside those of the server and of the bare engine.
"""

import asyncio
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.common import SHARED, finetune, keras_home
from tlearn.data.scan import scan

PHOTOS = 600
PER_REQUEST = 4
CLIENTS = 16  # requests at a time, of the closed loop
SECONDS = 20.0  # of the closed loop
OVERLOAD = 2.0  # times the capacity, in the open loop
OVERLOAD_SECONDS = 150.0
SAMPLES = 15  # of the memory meanwhile
BARE = """
import sys, time, tlearn
from pathlib import Path
run = tlearn.Run(sys.argv[1])
photos = 2 * list(map(Path, sys.argv[2:]))
list(run.classifier.predict(photos[:64]))
start, cpu = time.perf_counter(), time.process_time()
list(run.classifier.predict(photos))
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
print(len(photos) / seconds, 1000 * cpu / len(photos))
"""


def serving() -> dict[str, Any]:
    """Measure the bare engine, a closed loop of clients, and an open one at twice the capacity."""
    with tempfile.TemporaryDirectory() as place:
        run = Path(place) / "run"
        data = SHARED / "data" / "flowers"
        finetune(data, run, Path(place) / "cache", "--preset", "quick")
        photos = [file.path for file in scan(data).files[:PHOTOS]]
        requests = [_request(photos[i : i + PER_REQUEST]) for i in range(0, PHOTOS, PER_REQUEST)]
        bare = [_bare(run, photos)]
        with _server(run) as (port, process):
            asyncio.run(_closed(port, process, requests[:CLIENTS], 3.0))  # warm
            closed = asyncio.run(_closed(port, process, requests, SECONDS))
            bare.append(_bare(run, photos))
            offered = OVERLOAD * closed["images_per_second"]
            over = asyncio.run(_open(port, process, requests, offered / PER_REQUEST))
        bare.append(_bare(run, photos))
    rates, cpu = zip(*bare, strict=True)
    rate = statistics.mean(rates)
    return {
        "bare_images_per_second": rates,
        "bare_cpu_ms": statistics.mean(cpu),
        "ratio": closed["images_per_second"] / rate,
        "closed": closed,
        "open": over | {"offered_images_per_second": offered},
    }


def serving_tables(result: dict[str, Any]) -> list[str]:
    """Return the figures as a table in Markdown."""
    closed, memory = result["closed"], result["open"]["memory_mib"]
    lines = [
        f"`tlearn serve` gives {closed['images_per_second']:.0f} images a second to {CLIENTS} "
        f"clients, the bare engine {statistics.mean(result['bare_images_per_second']):.0f}: "
        f"{result['ratio']:.2f} of it. CPU time for an image: {closed['server_cpu_ms']:.1f} ms of "
        f"the server, {closed['client_cpu_ms']:.1f} of the clients on the same cores, "
        f"{result['bare_cpu_ms']:.1f} of the bare engine. Memory in {OVERLOAD_SECONDS:g} s of "
        f"overload: {', '.join(f'{mib:.0f}' for mib in memory)} MiB.",
        "",
        f"| load, requests of {PER_REQUEST} images | answered | told to come again | dropped "
        f"| p50 ms | p99 ms |",
        "|---|---|---|---|---|---|",
    ]
    loads = ("closed", f"{CLIENTS} clients"), ("open", f"{OVERLOAD:g} times the capacity")
    for name, load in loads:
        row = result[name]
        lines.append(
            f"| {load} | {row['answered']} | {row['refused']} | {row['dropped']} | "
            f"{row['p50_ms']:.0f} | {row['p99_ms']:.0f} |"
        )
    return lines


def _bare(run: Path, photos: Sequence[Path]) -> tuple[float, float]:
    """Return images a second, and CPU ms an image, of the classifier alone, from the files."""
    output = subprocess.check_output(
        [sys.executable, "-c", BARE, str(run), *map(str, photos)], env=_environment(), text=True
    )
    rate, cpu = map(float, output.split()[-2:])
    return rate, cpu


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _environment() -> dict[str, str]:
    return {**keras_home(), **os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}


@contextlib.contextmanager
def _server(run: Path) -> Iterator[tuple[int, psutil.Process]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tlearn", "serve", str(run), "--port", str(port)]
    with subprocess.Popen(command, env=_environment(), stdout=subprocess.DEVNULL) as server:
        try:
            for _ in range(600):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.1)
            yield port, psutil.Process(server.pid)
        finally:
            server.terminate()


def _request(photos: Sequence[Path]) -> bytes:
    parts = [
        b'--limit\r\nContent-Disposition: form-data; name="images"; filename="photo.jpg"\r\n\r\n'
        + photo.read_bytes()
        + b"\r\n"
        for photo in photos
    ]
    body = b"".join([*parts, b"--limit--\r\n"])
    return (
        f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: multipart/form-data; boundary=limit\r\n\r\n"
    ).encode() + body


async def _ask(
    connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], request: bytes
) -> int:
    """Return the status of an answer, read to its end."""
    reader, writer = connection
    writer.write(request)
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    await reader.readexactly(int(head.split("content-length:")[1].split()[0]))
    return int(head.split()[1])


def _summary(statuses: Counter[int], times: list[float], seconds: float) -> dict[str, Any]:
    cuts = statistics.quantiles(times, n=100)
    return {
        "answered": statuses[200],
        "refused": statuses[503],
        "dropped": sum(statuses.values()) - statuses[200] - statuses[503],
        "images_per_second": PER_REQUEST * statuses[200] / seconds,
        "p50_ms": 1000 * cuts[49],
        "p99_ms": 1000 * cuts[98],
    }


async def _closed(
    port: int, process: psutil.Process, requests: Sequence[bytes], seconds: float
) -> dict[str, Any]:
    """Let clients ask again as soon as they are answered."""
    statuses, times, start = Counter[int](), list[float](), time.perf_counter()
    cpu = _cpu_seconds(process), time.process_time()

    async def client(number: int) -> None:
        connection = await asyncio.open_connection("127.0.0.1", port)
        while (begin := time.perf_counter()) - start < seconds:
            statuses[await _ask(connection, requests[number % len(requests)])] += 1
            times.append(time.perf_counter() - begin)
            number += CLIENTS
        connection[1].close()

    await asyncio.gather(*map(client, range(CLIENTS)))
    to_ms = 1000 / (PER_REQUEST * statuses[200])
    return _summary(statuses, times, time.perf_counter() - start) | {
        "server_cpu_ms": to_ms * (_cpu_seconds(process) - cpu[0]),
        "client_cpu_ms": to_ms * (time.process_time() - cpu[1]),
    }


async def _open(
    port: int, process: psutil.Process, requests: Sequence[bytes], rate: float
) -> dict[str, Any]:
    """Send so many requests a second whether or not others were answered."""
    statuses, times, memory = Counter[int](), list[float](), list[float]()
    tasks, start = set[asyncio.Task[None]](), time.perf_counter()

    async def one(request: bytes) -> None:
        begin = time.perf_counter()
        status = 0  # dropped
        with contextlib.suppress(OSError, EOFError):
            connection = await asyncio.open_connection("127.0.0.1", port)
            status = await _ask(connection, request)
            connection[1].close()
        statuses[status] += 1
        if status == 200:
            times.append(time.perf_counter() - begin)

    total = int(rate * OVERLOAD_SECONDS)
    for number in range(total):
        await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
        task = asyncio.create_task(one(requests[number % len(requests)]))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        if number % (total // SAMPLES) == 0:
            memory.append(process.memory_info().rss / 2**20)
    await asyncio.gather(*tasks)
    return _summary(statuses, times, time.perf_counter() - start) | {"memory_mib": memory}
