"""What the addresses of the web service share: models, limits, threads."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import Request

from tlearn.errors import DataError
from tlearn.runs.classifier import ModelOutputs
from tlearn.runs.explanation import Method
from tlearn.serving.admission import Admission
from tlearn.serving.model_store import ModelStore
from tlearn.serving.request_body import receiving
from tlearn.serving.request_images import Images, images_in
from tlearn.serving.served_model import Outputs, ServedModel
from tlearn.serving.server_metrics import BYTES, EXPLANATIONS, WAITING
from tlearn.serving.server_settings import ServerSettings

T = TypeVar("T")
EXPLAINED = 8  # images whose explanation waits or is worked on


class Service:
    """What the addresses share. For one event loop.

    Args:
        store: The models.
        settings: Limits.

    Attributes:
        ready: Whether the server goes on; not any more once it is asked to stop.
    """

    def __init__(self, store: ModelStore, settings: ServerSettings) -> None:
        self.store, self.settings, self.ready = store, settings, True
        self.bytes = Admission(settings.memory_bytes, BYTES)
        self.images = Admission(settings.waiting_images, WAITING, settings.seconds)
        self.explanations = Admission(EXPLAINED, EXPLANATIONS)
        self._threads = ThreadPoolExecutor(os.cpu_count(), "decoding")
        self._explaining = ThreadPoolExecutor(1, "explaining")  # each takes all cores

    @asynccontextmanager
    async def taking(
        self, request: Request, admission: Admission, most: int, name: str | None
    ) -> AsyncIterator[tuple[ServedModel, Images]]:
        """Give the model and the images of a request, at most so many, within all limits."""
        with self.store.lease(name) as model:
            admission.check()  # before the body is read, which would be for nothing
            async with receiving(request, self.bytes, self.settings) as body:
                kind = request.headers.get("content-type", "")
                async with asyncio.timeout(self.settings.seconds):
                    images = await self.in_thread(images_in, kind, body, most)
                    del body
                    with admission.admit(len(images)):
                        yield model, images

    async def in_thread(
        self, do: Callable[..., T], *arguments: Any, threads: Executor | None = None
    ) -> T:
        """Return what a function gives, in one of as many threads as there are cores."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(threads or self._threads, do, *arguments)

    async def outputs(self, model: ServedModel, images: Images) -> Outputs:
        """Return what a model gives for image files, or why there is nothing, with their names."""

        async def one(data: bytes) -> ModelOutputs | DataError:
            try:
                views = await self.in_thread(model.decode, data)
            except DataError as error:
                return error
            return await asyncio.wrap_future(model.submit(views))

        outputs = await asyncio.gather(*(one(data) for _, data in images))
        return [(name, given) for (name, _), given in zip(images, outputs, strict=True)]

    async def explanations_of(
        self, model: ServedModel, images: Images, method: Method, label: str | None
    ) -> list[dict[str, Any]]:
        """Return the records of :meth:`ServedModel.explain`; those of nobody are not begun."""
        return [
            await self.in_thread(model.explain, *image, method, label, threads=self._explaining)
            for image in images
        ]

    def close(self) -> None:
        """End the threads, and those of the models once they have answered."""
        self._threads.shutdown()
        self._explaining.shutdown()
        self.store.close()
