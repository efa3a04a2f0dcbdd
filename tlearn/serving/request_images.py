"""The images in a request: parts of a form, base64 in JSON, or the body itself."""

import base64
import binascii
from typing import Annotated, Any

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from tlearn.serving.server_settings import ServerSettings

UNNAMED = "image"


class ImageInJson(BaseModel):
    """An image in the body of a request."""

    model_config = ConfigDict(extra="forbid")
    data: Annotated[str, Field(description="The image file in base64")]
    name: Annotated[str, Field(description="What the answer calls it")] = UNNAMED


class ImagesInJson(BaseModel):
    """The body of a request in JSON."""

    model_config = ConfigDict(extra="forbid")
    images: list[ImageInJson]


BODIES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "images": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                        }
                    },
                }
            },
            "application/json": {
                "schema": ImagesInJson.model_json_schema(
                    ref_template="#/components/schemas/{model}"
                )
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


async def images_of(request: Request, settings: ServerSettings) -> list[tuple[str, bytes]]:
    """Return the image files of a request with their names, at least one.

    Raises:
        HTTPException: 400 if there is none or the body cannot be read, 413 if it is too large or
            has too many, 415 if its type is not known.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    request = Request(request.scope, _limited(request.receive, settings.request_bytes))
    if kind == "multipart/form-data":
        images = await _in_form(request, settings)
    elif kind == "application/json":
        images = _in_json(await request.body())
    elif kind.startswith("image/") or kind == "application/octet-stream":
        images = [(UNNAMED, await request.body())]
    else:
        raise HTTPException(
            415,
            f"a body of type {kind or 'nothing'!r} is not read; send multipart/form-data with "
            f'files, application/json as {{"images": [{{"data": "<base64>"}}]}}, or one image '
            f"as image/jpeg",
        )
    if not images:
        raise HTTPException(400, "there is no image in the request; send at least one")
    if len(images) > settings.request_images:
        raise _too_many(settings)
    return images


async def _in_form(request: Request, settings: ServerSettings) -> list[tuple[str, bytes]]:
    try:
        async with request.form(max_files=settings.request_images, max_fields=16) as form:
            files = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
            return [(file.filename or UNNAMED, await file.read()) for file in files]
    except HTTPException as error:
        if "Too many files" in str(error.detail):
            raise _too_many(settings) from None
        raise


def _in_json(body: bytes) -> list[tuple[str, bytes]]:
    try:
        given = ImagesInJson.model_validate_json(body)
        return [(image.name, base64.b64decode(image.data, validate=True)) for image in given.images]
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise HTTPException(400, f"{where}: {first['msg']}") from None
    except binascii.Error as error:
        raise HTTPException(400, f"data of an image is not base64: {error}") from None


def _too_many(settings: ServerSettings) -> HTTPException:
    return HTTPException(
        413, f"there are more than {settings.request_images} images; send fewer at a time"
    )


def _limited(receive: Receive, most: int) -> Receive:
    """Return what receives a body and refuses one of more than so many bytes."""
    size = 0

    async def limited() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > most:
            raise HTTPException(
                413, f"the request has more than {most / 1e6:g} MB; send less at a time"
            )
        return message

    return limited
