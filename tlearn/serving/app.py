"""The web service: what it answers at which address."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from tlearn import __version__
from tlearn.errors import ConfigError, DataError, TlearnError
from tlearn.runs.classifier import ModelOutputs
from tlearn.runs.explanation import Method
from tlearn.runs.unknown import MOST_REJECT, REJECT
from tlearn.serving.admission import Admission, BusyError
from tlearn.serving.model_store import ModelStore
from tlearn.serving.reception import Reception
from tlearn.serving.request_images import BODIES, images_of
from tlearn.serving.served_model import ServedModel
from tlearn.serving.server_metrics import BYTES, EXPLANATIONS, IMAGES, REGISTRY, WAITING
from tlearn.serving.server_settings import ServerSettings

T = TypeVar("T")
EXPLAINED = 8  # requests for explanations that wait or are worked on
Name = Annotated[str | None, Query(alias="model", description="Which model, if there are several")]


class Service:
    """What the addresses share.

    Args:
        store: The models.
        settings: Limits.

    Attributes:
        ready: Whether requests are taken on; not any more once the server is told to stop.
    """

    def __init__(self, store: ModelStore, settings: ServerSettings) -> None:
        self.store, self.settings, self.ready = store, settings, True
        self.bytes = Admission(settings.memory_bytes, BYTES)
        self.images = Admission(settings.waiting_images, WAITING)
        self.explanations = Admission(EXPLAINED, EXPLANATIONS)
        self.threads = ThreadPoolExecutor(os.cpu_count(), "decoding")

    @asynccontextmanager
    async def taking(
        self, request: Request, admission: Admission, name: str | None
    ) -> AsyncIterator[tuple[ServedModel, list[tuple[str, bytes]]]]:
        """Give the model and the images of a request, within all limits."""
        try:
            length = int(request.headers.get("content-length", self.settings.request_bytes))
        except ValueError:
            raise HTTPException(400, "Content-Length is no number") from None
        if length > self.settings.request_bytes:
            most = self.settings.request_bytes / 1e6
            raise HTTPException(413, f"the request has more than {most:g} MB; send less at a time")
        async with asyncio.timeout(self.settings.seconds):
            # The first image is counted before the body is read, which would be for nothing.
            with self.store.lease(name) as model, self.bytes.admit(length), admission.admit(1):
                images = await images_of(request, self.settings)
                with admission.admit(len(images) - 1):
                    yield model, images

    async def in_thread(self, do: Callable[..., T], *arguments: Any) -> T:
        """Return what a function gives, in one of as many threads as there are cores."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, do, *arguments)

    async def outputs(self, model: ServedModel, data: bytes) -> ModelOutputs | DataError:
        """Return what a model gives for an image file, or why there is nothing."""
        try:
            views = await self.in_thread(model.decode, data)
        except DataError as error:
            return error
        return await asyncio.wrap_future(model.submit(views))


def make_app(store: ModelStore, settings: ServerSettings) -> FastAPI:
    """Return the service for models, which are closed when it ends."""
    service = Service(store, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.threads.shutdown()
        await asyncio.to_thread(store.close)

    app = FastAPI(title="tlearn", version=__version__, lifespan=lifespan, redoc_url=None)
    app.state.service = service
    _answer_errors(app)
    _add_status(app, service)
    _add_models(app, service)
    _add_predictions(app, service)
    app.add_middleware(Reception, key=settings.key)
    return app


def _answer_errors(app: FastAPI) -> None:
    @app.exception_handler(BusyError)
    async def busy(_: Request, error: BusyError) -> JSONResponse:
        headers = {"Retry-After": str(error.retry_after)}
        return JSONResponse({"detail": str(error)}, 503, headers)

    @app.exception_handler(TimeoutError)
    async def late(_: Request, error: TimeoutError) -> JSONResponse:
        return JSONResponse({"detail": "this took too long; send fewer images at a time"}, 504)

    @app.exception_handler(TlearnError)
    async def wrong(_: Request, error: TlearnError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 400)


def _add_status(app: FastAPI, service: Service) -> None:
    @app.get("/health", summary="Whether the process answers")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready", summary="Whether it takes on requests")
    async def ready() -> JSONResponse:
        state = "ready" if service.ready else "stopping"
        return JSONResponse({"status": state}, 200 if service.ready else 503)

    @app.get("/metrics", summary="Figures for Prometheus")
    async def metrics() -> Response:
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)


def _add_models(app: FastAPI, service: Service) -> None:
    @app.get("/models", summary="The models")
    async def models() -> list[dict[str, Any]]:
        return [model.card() for model in service.store.models()]

    @app.post("/models/{name}/reload", summary="Load a model again from its directory")
    async def reload(name: str) -> JSONResponse:
        try:
            model = await asyncio.to_thread(service.store.reload, name)
        except ConfigError as error:
            return JSONResponse({"detail": str(error)}, 404)
        except TlearnError as error:
            return JSONResponse({"detail": f"{error}; the model before goes on"}, 409)
        return JSONResponse(model.card())


def _add_predictions(app: FastAPI, service: Service) -> None:
    @app.post("/predict", summary="Classify images", openapi_extra=BODIES)
    async def predict(
        request: Request,
        name: Name = None,
        top: Annotated[int, Query(ge=1, le=100)] = 3,
        reject: Annotated[float, Query(ge=0, le=MOST_REJECT)] = REJECT,
    ) -> Response:
        async with service.taking(request, service.images, name) as (model, images):
            outputs = await asyncio.gather(*(service.outputs(model, data) for _, data in images))
            named = [(file, given) for (file, _), given in zip(images, outputs, strict=True)]
            predictions = await service.in_thread(model.predictions, named, top, reject)
            for prediction in predictions:
                state = "unreadable" if prediction.problem else "classified"
                IMAGES.labels(model.name, state).inc()
            records = ", ".join(prediction.to_json() for prediction in predictions)
            body = f'{{"model": {json.dumps(model.name)}, "predictions": [{records}]}}'
            return Response(body, media_type="application/json")

    @app.post("/explain", summary="Show what in images speaks for a class", openapi_extra=BODIES)
    async def explain(
        request: Request, name: Name = None, method: Method = "grad-cam", label: str | None = None
    ) -> dict[str, Any]:
        async with service.taking(request, service.explanations, name) as (model, images):
            records = [
                await asyncio.to_thread(model.explain, file, data, method, label)
                for file, data in images
            ]
            return {"model": model.name, "explanations": records}
