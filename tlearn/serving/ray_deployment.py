"""The model of a run as an application of Ray Serve, with batches and replicas that come and go.

::

    serve run tlearn.serving.ray_deployment:build run=/runs/photos most_replicas=4

Ray Serve has the port, the replicas, their health, the queue in front of them, and the restart of
those that die; a replica is the model that ``tlearn serve`` loads. ``POST /`` takes and answers
what ``/predict`` does.
"""

import asyncio
from pathlib import Path

from fastapi import HTTPException
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tlearn.serving.predict_query import PredictQuery
from tlearn.serving.request_images import Images, images_in
from tlearn.serving.served_model import Outputs, ServedModel


class Arguments(BaseModel):
    """What ``serve run`` and its configuration file may say.

    Attributes:
        run: The run directory, at the same path on every node.
        replicas: At least, and as long as little is asked.
        most_replicas: Under load.
        cpus: Of one replica; its engine uses as many as the node has.
        batch_requests: Requests that are computed together, at most.
        waiting_requests: That wait for a replica; further ones are refused with 503.
        request_images: Of one request, at most.
    """

    model_config = ConfigDict(extra="forbid")
    run: Path
    replicas: int = Field(default=1, ge=0)
    most_replicas: int = Field(default=1, ge=1)
    cpus: float = Field(default=1.0, gt=0)
    batch_requests: int = Field(default=16, ge=1)
    waiting_requests: int = Field(default=256, ge=1)
    request_images: int = Field(default=256, ge=1)


class Replica:
    """A model in a process of Ray Serve.

    Args:
        arguments: See :class:`Arguments`.
    """

    def __init__(self, arguments: Arguments) -> None:
        self.model = ServedModel(arguments.run)
        self.request_images = arguments.request_images
        self.outputs.set_max_batch_size(arguments.batch_requests)  # type: ignore[attr-defined]

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.005)
    async def outputs(self, requests: list[Images]) -> list[Outputs]:
        """Return what the model gives for the images of each of several requests."""
        together = [image for images in requests for image in images]
        outputs = iter(await asyncio.to_thread(self.model.outputs, together))
        return [[next(outputs) for _ in images] for images in requests]

    async def __call__(self, request: Request) -> Response:
        """Answer ``POST``; see ``/predict`` of ``tlearn serve``."""
        kind = request.headers.get("content-type", "")
        try:
            query = PredictQuery.model_validate(dict(request.query_params))
            data = await request.body()
            images = await asyncio.to_thread(images_in, kind, data, self.request_images)
        except ValidationError as error:
            first = error.errors()[0]
            return JSONResponse({"detail": f"{first['loc'][-1]}: {first['msg']}"}, 422)
        except HTTPException as error:
            return JSONResponse({"detail": error.detail}, error.status_code)
        outputs = await self.outputs(images)
        body = await asyncio.to_thread(self.model.answer, outputs, query.top, query.reject)
        return Response(body, media_type="application/json")

    def check_health(self) -> None:
        """Answer Ray Serve, which starts a replica anew that does not."""


def build(arguments: Arguments) -> serve.Application:
    """Return the application; ``serve run`` calls this with what follows the import path."""
    deployment = serve.deployment(
        name=arguments.run.name,
        ray_actor_options={"num_cpus": arguments.cpus},
        autoscaling_config={
            "min_replicas": arguments.replicas,
            "max_replicas": max(arguments.replicas, arguments.most_replicas),
            "target_ongoing_requests": arguments.batch_requests,
        },
        max_ongoing_requests=2 * arguments.batch_requests,
        max_queued_requests=arguments.waiting_requests,
    )(Replica)
    return deployment.bind(arguments)
