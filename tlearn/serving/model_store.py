"""The models of a server by name, each replaced while it answers."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tlearn.errors import ConfigError, nearest
from tlearn.serving.served_model import ServedModel
from tlearn.serving.server_metrics import BATCH_IMAGES, BATCH_SECONDS, LOADED


class ModelStore:
    """Runs that are served.

    Args:
        paths: Run directories, of different names.

    Raises:
        ConfigError: If two have the same name.
        RunError: If one has no usable model.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths: dict[str, Path] = {}
        for path in paths:
            name = path.resolve().name
            if name in self._paths:
                raise ConfigError(
                    f"two runs are called {name!r}, {str(self._paths[name])!r} and {str(path)!r}; "
                    f"rename one of the folders"
                )
            self._paths[name] = path
        self._lock = threading.Lock()  # of what follows
        self._models = {name: _load(name, path) for name, path in self._paths.items()}
        self._users = dict.fromkeys(self._models.values(), 0)
        self._loading = threading.Lock()  # one at a time: each takes memory and all cores

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the models, in the order they were given."""
        return tuple(self._models)

    def models(self) -> list[ServedModel]:
        """Return the models as they are now."""
        with self._lock:
            return list(self._models.values())

    @contextmanager
    def lease(self, name: str | None) -> Iterator[ServedModel]:
        """Give a model, which stays usable within the block; without a name the only one.

        Raises:
            ConfigError: If there is none of that name, or none is named and there are several.
        """
        with self._lock:
            model = self._models[self._name_of(name)]
            self._users[model] += 1
        try:
            yield model
        finally:
            self._release(model)

    def reload(self, name: str) -> ServedModel:
        """Load a model again from its directory; the one before answers until then.

        Raises:
            ConfigError: If there is none of that name.
            RunError: If the directory has no usable model now; the one before stays.
        """
        with self._loading:
            model = _load(name, self._paths[self._name_of(name)])
            with self._lock:
                before = self._models[name]
                self._models[name] = model
                self._users[model] = 0
                self._users[before] += 1  # until the next line but one
            self._release(before)
            return model

    def close(self) -> None:
        """Answer what was submitted, and end the threads of all models."""
        for model in self.models():
            model.close()

    def _name_of(self, name: str | None) -> str:
        if name is None and len(self._paths) == 1:
            return next(iter(self._paths))
        if name in self._paths:
            return name
        known = ", ".join(self._paths)
        if name is None:
            raise ConfigError(f"say which model: ?model=NAME, one of {known}")
        raise ConfigError(
            f"there is no model {name!r}{nearest(name, self._paths)}; there are {known}"
        )

    def _release(self, model: ServedModel) -> None:
        """Count one user less; a model that was replaced ends with its last."""
        with self._lock:
            self._users[model] -= 1
            is_over = not self._users[model] and model not in self._models.values()
            if is_over:
                del self._users[model]
        if is_over:
            model.close(wait=False)  # the event loop calls this, and a batch may be computed still


def _load(name: str, path: Path) -> ServedModel:
    images, seconds = BATCH_IMAGES.labels(name), BATCH_SECONDS.labels(name)

    def observe(number: int, took: float) -> None:
        images.observe(number)
        seconds.observe(took)

    model = ServedModel(path, observe)
    LOADED.labels(name).set_to_current_time()
    return model
