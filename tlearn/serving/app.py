"""The web service: what it answers at which address."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.security import APIKeyHeader
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import ClientDisconnect

from tlearn import __version__
from tlearn.errors import ConfigError, DataError, RunError, TlearnError
from tlearn.runs.explanation import Method
from tlearn.serving.admission import BusyError
from tlearn.serving.model_store import ModelStore
from tlearn.serving.predict_query import PredictQuery, WhichModel
from tlearn.serving.reception import KEY_HEADER, Reception
from tlearn.serving.request_images import BODIES
from tlearn.serving.responses import (
    ErrorRecord,
    ExplanationsRecord,
    ModelRecord,
    PredictionsRecord,
    StatusRecord,
    errors,
)
from tlearn.serving.server_metrics import IMAGES, REGISTRY
from tlearn.serving.server_settings import ServerSettings
from tlearn.serving.service import EXPLAINED, Service

ABOUT = """\
Classifies images with trained models. Images of several requests are computed together. A request
that is refused with 503 was not begun: send it again after the seconds in `Retry-After`.
"""
REFUSALS = errors(
    e400="The body cannot be read, or there is no such model or class",
    e408="The body did not come in time",
    e413="Too many bytes or images for one request",
    e415="The body is of a type that is not read",
    e422="A parameter is out of bounds",
    e503="The server is busy, and has not begun this request",
    e504="The answer took too long; send fewer images at a time",
)


def make_app(store: ModelStore, settings: ServerSettings) -> FastAPI:
    """Return the service for models, which are closed when it ends."""
    service = Service(store, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.close)

    app = FastAPI(
        title="tlearn",
        description=ABOUT,
        version=__version__,
        lifespan=lifespan,
        redoc_url=None,
        responses={422: {"model": ErrorRecord, "description": "A parameter is out of bounds"}},
    )
    app.state.service = service
    _answer_errors(app)
    _add_status(app, service)
    _add_models(app, service)
    _add_predictions(app, service)
    app.add_middleware(Reception, service=service)
    return app


def _answer_errors(app: FastAPI) -> None:
    def refusal(status: int, reason: str, headers: dict[str, str] | None = None) -> JSONResponse:
        return JSONResponse({"detail": reason}, status, headers)

    @app.exception_handler(BusyError)
    async def busy(_: Request, error: BusyError) -> JSONResponse:
        return refusal(503, str(error), {"Retry-After": str(error.retry_after)})

    @app.exception_handler(TimeoutError)
    async def late(_: Request, error: TimeoutError) -> JSONResponse:
        return refusal(504, "this took too long; send fewer images at a time")

    @app.exception_handler(RunError)
    async def changed(_: Request, error: RunError) -> JSONResponse:
        return refusal(409, str(error))

    @app.exception_handler(TlearnError)
    async def wrong(_: Request, error: TlearnError) -> JSONResponse:
        return refusal(400, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return refusal(422, f"{first['loc'][-1]}: {first['msg']}")

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=499)  # nobody receives it


def _keyed(service: Service) -> list[Any]:
    """Return what tells OpenAPI of the key, which the middleware asks for."""
    if not service.settings.key:
        return []
    return [Security(APIKeyHeader(name=KEY_HEADER, auto_error=False))]


def _add_status(app: FastAPI, service: Service) -> None:
    @app.head("/health", include_in_schema=False)
    @app.get("/health", summary="Whether the process answers")
    async def health() -> StatusRecord:
        return StatusRecord(status="ok")

    @app.head("/ready", include_in_schema=False)
    @app.get(
        "/ready",
        summary="Whether it takes on requests",
        response_model=StatusRecord,
        responses={503: {"model": StatusRecord, "description": "It is about to stop"}},
    )
    async def ready() -> JSONResponse:
        state = "ready" if service.ready else "stopping"
        return JSONResponse({"status": state}, 200 if service.ready else 503)

    @app.get(
        "/metrics",
        summary="Figures for Prometheus",
        dependencies=_keyed(service),
        response_class=Response,
        responses={200: {"content": {CONTENT_TYPE_LATEST: {}}}},
    )
    async def metrics() -> Response:
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)


def _add_models(app: FastAPI, service: Service) -> None:
    @app.get("/models", summary="The models", dependencies=_keyed(service))
    async def models() -> list[ModelRecord]:
        return [ModelRecord.model_validate(model.card) for model in service.store.models()]

    @app.post(
        "/models/{name}/reload",
        summary="Load a model again from its directory",
        description="The one before answers until then, and goes on if that fails.",
        dependencies=_keyed(service),
        responses=errors(e404="There is no such model", e409="There is no usable model now"),
    )
    async def reload(name: str) -> ModelRecord:
        try:
            model = await asyncio.to_thread(service.store.reload, name)
        except ConfigError as error:
            raise HTTPException(404, str(error)) from None
        except TlearnError as error:
            raise HTTPException(409, f"{error}; the model before goes on") from None
        return ModelRecord.model_validate(model.card)


def _add_predictions(app: FastAPI, service: Service) -> None:
    settings = service.settings
    shared: dict[str, Any] = {
        "openapi_extra": BODIES,
        "dependencies": _keyed(service),
    }

    @app.post(
        "/predict",
        summary="Classify images",
        response_model=PredictionsRecord,
        responses=REFUSALS,
        **shared,
    )
    async def predict(request: Request, query: Annotated[PredictQuery, Query()]) -> Response:
        most = settings.request_images
        async with service.taking(request, query.model, most, service.images_of) as taken:
            outputs, model = await service.outputs(taken), taken.model
            body = await service.in_thread(model.answer, outputs, query.top, query.reject)
        for _, given in outputs:
            state = "unreadable" if isinstance(given, DataError) else "classified"
            IMAGES.labels(model.name, state).inc()
        return Response(body, media_type="application/json")

    @app.post(
        "/explain",
        summary="Show what in images speaks for a class",
        description=f"At most {EXPLAINED} images; they are explained one by one.",
        response_model=ExplanationsRecord,
        responses=REFUSALS | errors(e409="The run was written again; reload the model"),
        **shared,
    )
    async def explain(
        request: Request,
        name: Annotated[WhichModel, Query(alias="model")] = None,
        method: Method = "grad-cam",
        label: Annotated[
            str | None, Query(description="The class; if not given, the likeliest")
        ] = None,
    ) -> JSONResponse:
        in_flight = service.explanations
        async with service.taking(request, name, EXPLAINED, lambda _: in_flight) as taken:
            records = await service.explanations_of(taken, method, label)
        model = taken.model
        answer = {"model": model.name, "digest": model.digest, "explanations": records}
        return JSONResponse(answer)
