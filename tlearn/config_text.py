"""Texts that stand for values of a configuration: amounts, stages, objects in Python files."""

import re
from typing import Any

UNITS = {
    "seconds": {"s": 1, "m": 60, "h": 3600},
    "bytes": {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12},
}
SHORT_STAGE = re.compile(
    r"([^\s:@\[\]{}]+)(?::([0-9]+))?(?:@((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?))?"
)
CLUSTER = re.compile(r"ray|(ray://)?(auto|(\[[0-9a-fA-F:.]+\]|[^\s/:]+):[0-9]{1,5})")


def read_amount(value: Any, kind: str) -> Any:
    """Read ``90s``, ``5m``, ``1h30m`` or ``500M``, ``10G``; a plain number stays what it is.

    Args:
        value: The text or number.
        kind: ``seconds`` or ``bytes``.

    Raises:
        ValueError: If the text has another form.
    """
    if not isinstance(value, str):
        return value
    units = UNITS[kind]
    parts = re.findall(r"([0-9.]+)\s*([a-zA-Z]?)", value.strip().removesuffix("B"))
    known = {**units, **{unit.swapcase(): factor for unit, factor in units.items()}, "": 1}
    written = "".join(number + unit for number, unit in parts)
    if not parts or written != re.sub(r"\s|B$", "", value) or {u for _, u in parts} - known.keys():
        example = "90s, 5m or 1h30m" if kind == "seconds" else "500M, 10G or 1T"
        raise ValueError(f"must be a number of {kind} such as {example}")
    return sum(float(number) * known[unit] for number, unit in parts)


def parse_stages(value: Any) -> Any:
    """Read stages in short form: ``UNFREEZE[:EPOCHS][@RATE]``, separated by commas.

    ``3:8@1e-4,all@1e-5`` unfreezes the top 3 blocks for 8 epochs at 1e-4, then everything at 1e-5;
    ``none`` alone means no stage after the probe. What is neither text nor a number is
    returned as it is.

    Raises:
        ValueError: If the text has another form.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        return value
    text = str(value).strip()
    if text.lower() == "none":
        return []
    matches = [SHORT_STAGE.fullmatch(part.strip()) for part in text.split(",")]
    if None in matches:
        raise ValueError(
            "takes UNFREEZE[:EPOCHS][@RATE], separated by commas, as in '3:8@1e-4,all', or a list "
            "of mappings such as [{unfreeze: 3, epochs: 8}]"
        )
    keys = ("unfreeze", "epochs", "learning_rate")
    return [
        {key: word for key, word in zip(keys, match.groups(), strict=True) if word is not None}
        for match in matches
        if match
    ]


def check_reference(value: str) -> str:
    """Return ``FILE.py:NAME`` as it is; without a file it was an object of Python.

    Raises:
        ValueError: If the text has another form.
    """
    if value and not re.fullmatch(r"(.+\.py)?:\w+", value):
        raise ValueError("must be FILE.py:NAME: a Python file, and what it defines")
    return value


def check_cluster(value: str) -> str:
    """Return the address of a Ray cluster as it is; an empty one is that of none.

    Raises:
        ValueError: If the text has another form.
    """
    if value and not re.fullmatch(
        r"ray|(ray://)?(auto|(\[[0-9a-fA-F:.]+\]|[^\s/:]+):[0-9]{1,5})", value
    ):
        raise ValueError(
            "must be 'ray' for a cluster of this machine alone, or the address of one: "
            "ray://HOST:PORT, HOST:PORT or ray://auto"
        )
    return value
