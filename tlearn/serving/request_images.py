"""The images in the body of a request: parts of a form, base64 in JSON, or the body itself."""

import base64
import binascii
import logging
from typing import Annotated, Any

from fastapi import HTTPException
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import File, FormParser, parse_options_header

from tlearn.errors import one_line

logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # of what strangers send
UNNAMED = "image"
FIELDS = 16  # of a form beside its files, which are ignored, at most
Images = list[tuple[str, bytes]]  # image files with their names
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGM4YaQBAALoASPGsyJyAAAAAElFTkSuQmCC"
)


class ImageInJson(BaseModel):
    """An image in the body of a request."""

    model_config = ConfigDict(extra="forbid")
    data: Annotated[str, Field(description="The image file in base64", examples=[PIXEL])]
    name: Annotated[str, Field(description="What the answer calls it", examples=["pixel.png"])] = (
        UNNAMED
    )


class ImagesInJson(BaseModel):
    """The body of a request in JSON."""

    model_config = ConfigDict(extra="forbid")
    images: Annotated[list[ImageInJson], Field(description="At least one")]


def _schema() -> dict[str, Any]:
    """Return the schema of the body in JSON, whole in itself."""
    schema = ImagesInJson.model_json_schema()
    (image,) = schema.pop("$defs").values()
    schema["properties"]["images"]["items"] = image
    return schema


BODIES: dict[str, Any] = {  # what images_in reads, for OpenAPI
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
                            "description": "Image files; the name of a part does not matter",
                        }
                    },
                }
            },
            "application/json": {"schema": _schema()},
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


def images_in(content_type: str, body: bytes, most: int) -> Images:
    """Return the image files in a body with their names, from one to ``most``.

    Raises:
        HTTPException: 400 if there is none or the body cannot be read, 413 if there are too many,
            415 if its type is not known.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        images = _in_form(content_type, body, most)
    elif kind == "application/json":
        images = _in_json(body, most)
    elif kind.startswith("image/") or kind == "application/octet-stream":
        images = [(UNNAMED, body)] if body else []
    else:
        raise HTTPException(
            415,
            f"a body of type {kind or 'nothing'!r} is not read; send multipart/form-data with "
            f'files, application/json as {{"images": [{{"data": "<base64>"}}]}}, or one image '
            f"as image/jpeg",
        )
    if not images:
        raise HTTPException(400, "there is no image in the request; send at least one")
    return images


def _in_form(content_type: str, body: bytes, most: int) -> Images:
    images, fields, is_whole = Images(), 0, False

    def add(file: File) -> None:
        if len(images) == most:
            raise _too_many(most)
        name = (file.file_name or b"").decode("utf-8", "replace") or UNNAMED
        file.file_object.seek(0)
        images.append((name, file.file_object.read()))
        file.close()

    def count(_: Any) -> None:
        nonlocal fields
        fields += 1
        if fields > FIELDS:
            raise HTTPException(400, "the form has many fields that are no files; send files")

    def end() -> None:
        nonlocal is_whole
        is_whole = True

    _, options = parse_options_header(content_type)
    in_memory = {"MAX_MEMORY_FILE_SIZE": len(body)}
    try:
        parser = FormParser(
            "multipart/form-data", count, add, end, options.get(b"boundary"), config=in_memory
        )
        parser.write(body)
    except (FormParserError, binascii.Error) as error:
        raise HTTPException(400, f"the form cannot be read: {one_line(error)}") from None
    if not is_whole:
        raise HTTPException(400, "the form is not whole: its last boundary is missing")
    return images


def _in_json(body: bytes, most: int) -> Images:
    try:
        given = ImagesInJson.model_validate_json(body).images
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise HTTPException(400, f"{where}: {first['msg']}") from None
    if len(given) > most:
        raise _too_many(most)
    images = Images()
    for number, image in enumerate(given):
        try:
            images.append((image.name or UNNAMED, base64.b64decode(image.data, validate=True)))
        except ValueError as error:  # binascii.Error, or letters beyond ASCII
            raise HTTPException(
                400, f"images.{number}.data is not base64: {one_line(error)}"
            ) from None
    return images


def _too_many(most: int) -> HTTPException:
    return HTTPException(413, f"there are more than {most} images; send fewer at a time")
