"""What the addresses of the web service share: models, limits, threads."""

import asyncio
import os
import weakref
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

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


class Taken(NamedTuple):
    """A request that was taken on.

    Attributes:
        model: The model that answers it.
        images: Its images.
        answer: To be called when one of them is answered.
    """

    model: ServedModel
    images: Images
    answer: Callable[[], None]


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
        self._images = weakref.WeakKeyDictionary[ServedModel, Admission]()
        self.explanations = Admission(EXPLAINED, EXPLANATIONS)
        self._threads = ThreadPoolExecutor(os.cpu_count(), "decoding")
        self._explaining = ThreadPoolExecutor(1, "explaining")  # each takes all cores

    def images_of(self, model: ServedModel) -> Admission:
        """Return what counts the images for a model: a slow one takes no place from others."""
        if model not in self._images:
            self._images[model] = Admission(
                self.settings.waiting_images,
                WAITING.labels(model.name),
                self.settings.seconds,
                model.rate,
                model.at_once,
            )
        return self._images[model]

    @asynccontextmanager
    async def taking(
        self,
        request: Request,
        name: str | None,
        most: int,
        admission_of: Callable[[ServedModel], Admission],
    ) -> AsyncIterator[Taken]:
        """Give the model and the images of a request, at most so many, within all limits."""
        with self.store.lease(name) as model:
            admission = admission_of(model)
            admission.check()  # before the body is read, which would be for nothing
            async with receiving(request, self.bytes, self.settings) as body:
                admission.check()  # others have come meanwhile
                kind = request.headers.get("content-type", "")
                async with asyncio.timeout(self.settings.seconds), _until_gone(request):
                    images = await self.in_thread(images_in, kind, body, most)
                    del body
                    with admission.admit(len(images)) as answer:
                        yield Taken(model, images, answer)

    async def in_thread(
        self, do: Callable[..., T], *arguments: Any, threads: Executor | None = None
    ) -> T:
        """Return what a function gives, in one of as many threads as there are cores."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(threads or self._threads, do, *arguments)

    async def outputs(self, taken: Taken) -> Outputs:
        """Return what the model gives for image files, or why there is nothing, with their names.

        A request has so many images in work that all cores are used, and the others wait: between
        them those of smaller requests have their turn.
        """
        model, images, answer = taken
        turns = asyncio.Semaphore(2 * model.at_once)

        async def one(data: bytes) -> ModelOutputs | DataError:
            async with turns:
                try:
                    views = await self.in_thread(model.decode, data)
                except DataError as error:
                    return error
                outputs = await asyncio.wrap_future(model.submit(views))
            answer()
            return outputs

        outputs = await asyncio.gather(*(one(data) for _, data in images))
        return [(name, given) for (name, _), given in zip(images, outputs, strict=True)]

    async def explanations_of(
        self, taken: Taken, method: Method, label: str | None
    ) -> list[dict[str, Any]]:
        """Return the records of :meth:`ServedModel.explain`; those of nobody are not begun."""
        model, images, answer = taken
        records = []
        for image in images:
            records.append(
                await self.in_thread(model.explain, *image, method, label, threads=self._explaining)
            )
            answer()
        return records

    def close(self) -> None:
        """End the threads, and those of the models once they have answered."""
        self._threads.shutdown()
        self._explaining.shutdown()
        self.store.close()


@asynccontextmanager
async def _until_gone(request: Request) -> AsyncIterator[None]:
    """Cancel the block when the client goes away: nobody would receive what it computes.

    Raises:
        ClientDisconnect: If it did.
    """
    task, is_gone = asyncio.current_task(), False
    assert task is not None

    async def watch() -> None:
        nonlocal is_gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        is_gone = True
        task.cancel()

    watching = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if not is_gone or task.uncancel():  # cancelled for another reason, too
            raise
        raise ClientDisconnect from None
    finally:
        watching.cancel()
