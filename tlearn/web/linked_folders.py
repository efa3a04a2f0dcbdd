"""Data sets elsewhere on this machine, used without copying."""

import ipaddress
import json
import os
from pathlib import Path

import streamlit as st

from tlearn.atomic import atomic_file
from tlearn.data.filenames import inside, repair_part
from tlearn.data.folders import list_folder
from tlearn.data.read_data import check_data, data_name
from tlearn.data.table_source import holds_table
from tlearn.errors import DataError
from tlearn.text import numbered_names

ALLOWED = "TLEARN_LINK_FOLDERS"  # environment variable: users of other machines may link folders
LINKS = ".linked.json"  # in the data root


def may_link() -> bool:
    """Return whether users may link folders: if allowed, or if only this machine is served."""
    if os.environ.get(ALLOWED):
        return True
    host = st.get_option("server.address") or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def linked_folders(root: Path) -> dict[str, Path]:
    """Return the linked folders, tables and archives by the names of their data sets.

    Raises:
        DataError: If the list is damaged.
    """
    file = root / LINKS
    try:
        links = json.loads(file.read_text("utf-8"))
        return {name: Path(folder) for name, folder in links.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, TypeError):
        raise DataError(f"{str(file)!r} is damaged; delete it and link the folders anew") from None


def link_folder(root: Path, text: str, taken: set[str]) -> str:
    """Link the folder, table or archive of the path ``text``.

    Returns:
        The name of its data set, not in ``taken``.

    Raises:
        DataError: If there is nothing of the kind, or a folder holds neither folders nor a table.
    """
    typed = text.strip().strip("\"'")
    folder = Path(typed).expanduser()
    if not folder.is_absolute():
        raise DataError(f"{typed!r} is not an absolute path; give one such as {str(Path.home())!r}")
    check_data(folder)
    folder = folder.resolve()
    is_file = folder.is_file()  # a table or an archive
    if not (is_file or any(path.is_dir() for path in list_folder(folder)) or holds_table(folder)):
        raise DataError(
            f"{typed!r} holds no folders and no table; give one that holds a folder of photos per "
            f"class, or photos and a table of their classes"
        )
    links = linked_folders(root)
    for name, known in links.items():
        if known == folder:
            return name
    if not is_file and folder.is_relative_to(root.resolve()):
        raise DataError(f"{typed!r} lies in {str(root)!r}, where data sets are found automatically")
    names = numbered_names(repair_part(data_name(folder) or "data"))
    name = next(name for name in names if name not in taken and not (root / name).exists())
    _write(root, {**links, name: folder})
    return name


def unlink_folder(root: Path, name: str) -> None:
    """Remove a data set from the list; its files are not changed."""
    links = linked_folders(root)
    links.pop(name, None)
    _write(root, links)


def rename_link(root: Path, name: str, new: str) -> None:
    """Give a linked data set another name, which is free."""
    links = linked_folders(root)
    _write(root, {new if each == name else each: folder for each, folder in links.items()})


def _write(root: Path, links: dict[str, Path]) -> None:
    root.mkdir(parents=True, exist_ok=True)
    text = json.dumps({name: str(folder) for name, folder in links.items()}, indent=2)
    with atomic_file(inside(root, LINKS)) as file:
        file.write_text(text + "\n", "utf-8")
