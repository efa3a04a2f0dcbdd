"""What activations of many photos cost on a cluster: a model of measured parts, and runs beside it.

Each part is measured alone (:mod:`benchmarks.cluster_parts`). Photos are listed by the process that
was started, the driver; then workers read them to find which are images, and read, decode and
compute them. They put the rows into a store, and the driver notes the files; without a store the
driver takes the rows and writes them itself. Of what happens at once, that which takes longest is
the bottleneck, and the rest waits for it.
"""

import os
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.common import apart

SIZES = [10**k for k in range(4, 9)]  # photos
MACHINES = (1, 8, 64, 512)  # with workers, in the table; also the last of them without a store
CORES = 16  # of each machine, in the table
LINK = 1.25e9  # bytes per second of each machine's network, in the table: 10 Gbit/s
CHECKED = (500, 1000, 2000)  # photos of the runs that the model is checked with


@dataclass(frozen=True)
class Parts:
    """What a photo costs, with one view of it.

    Attributes:
        start: Seconds until workers are ready.
        list: Seconds to list it.
        scan: Core seconds to read, hash and check it.
        collect: Seconds of the driver to take what reading it gave.
        decode: Core seconds to decode and render it.
        engine: Core seconds to compute it.
        put: Core seconds to put its rows into a store.
        note: Seconds of the driver to learn from workers that compute nothing where its rows are.
        receive: Seconds until the driver has its rows from workers that compute nothing.
        write: Seconds of the driver to write its rows.
        row_bytes: Bytes of its rows.
        photo_bytes: Bytes of its file.
    """

    start: float
    list: float
    scan: float
    collect: float
    decode: float
    engine: float
    put: float
    note: float
    receive: float
    write: float
    row_bytes: float
    photo_bytes: float


def steps_of(
    parts: Parts,
    photos: int,
    machines: int,
    cores: int = CORES,
    link: float = LINK,
    store: bool = True,
) -> list[dict[str, float]]:
    """Return the steps, one after another: the seconds of what happens at once in each.

    Args:
        parts: What a photo costs.
        photos: How many there are.
        machines: Those that work, beside that of the driver; the driver's alone if 0.
        cores: Of each machine.
        link: Bytes per second of each machine's network, to stores that are never slower.
        store: Whether the rows are put into a store.
    """
    computed = parts.decode + parts.engine + parts.put * store
    driven = parts.note if store else parts.receive + parts.write
    before = [{"start": parts.start}, {"list": photos * parts.list}]
    if not machines:
        work = {"decode, compute, write": photos * (computed + driven) / cores}
        return [*before, {"scan": photos * parts.scan / cores}, work]
    workers, links = machines * cores, machines * link
    scan = {
        "scan": photos * parts.scan / workers,
        "network": photos * parts.photo_bytes / links,
        "collect": photos * parts.collect,
    }
    work = {
        "decode and compute": photos * computed / workers,
        "network": photos * (parts.photo_bytes + parts.row_bytes * store) / links,
        "note" if store else "receive and write": photos * driven,
        "network of the driver": photos * parts.row_bytes * (not store) / link,
    }
    return [*before, scan, work]


def modelled(steps: list[dict[str, float]]) -> tuple[float, str]:
    """Return the seconds of all steps, and the name of what takes most of them."""
    longest = [max((seconds, name) for name, seconds in step.items()) for step in steps]
    return sum(seconds for seconds, _ in longest), max(longest)[1]


def cluster_costs() -> dict[str, Any]:
    """Measure the parts, and run three sizes on a cluster of this machine beside the model."""
    parts = Parts(**apart("benchmarks.cluster_parts", "measured_parts()"))
    print(f"  {parts}", flush=True)
    cores = os.cpu_count() or 1
    checked = []
    for photos in CHECKED:
        seconds = apart("benchmarks.cluster_parts", f"measured_run({photos})")
        model, _ = modelled(steps_of(parts, photos, 0, cores))
        checked.append({"photos": photos, "seconds": seconds, "modelled": model})
        print(f"  {checked[-1]}", flush=True)
    return {"parts": asdict(parts), "cores": cores, "checked": checked}


def cluster_tables(result: dict[str, Any]) -> list[str]:
    """Return the measured parts, the runs beside the model, and the model, in Markdown."""
    parts = Parts(**result["parts"])
    lines = ["| of a photo | |", "|---|---|"]
    names = [name for name in asdict(parts) if name != "start" and not name.endswith("bytes")]
    lines += [f"| {name} | {1000 * getattr(parts, name):.3f} ms |" for name in names]
    lines += [f"| its file, its rows | {parts.photo_bytes:,.0f}, {parts.row_bytes:,.0f} bytes |"]
    lines += ["", "| photos | run | model | |", "|---|---|---|---|"]
    for run in result["checked"]:
        ratio = run["modelled"] / run["seconds"]
        seconds = f"{run['seconds']:.1f} s | {run['modelled']:.1f} s"
        lines.append(f"| {run['photos']:,} | {seconds} | {ratio:.2f} |")
    columns = [(n, True) for n in MACHINES] + [(MACHINES[-1], False)]
    heads = (f"{n} machines{'' if store else ', no store'}" for n, store in columns)
    lines += ["", f"| photos | {' | '.join(heads)} |", f"|---|{'---|' * len(columns)}"]
    for photos in SIZES:
        costs = (modelled(steps_of(parts, photos, n, store=store)) for n, store in columns)
        cells = (f"{_duration(seconds)}, {bottleneck}" for seconds, bottleneck in costs)
        lines.append(f"| {photos:,} | {' | '.join(cells)} |")
    return lines


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"
