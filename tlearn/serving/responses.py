"""What the service answers, as types: the schemas of its OpenAPI page."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(ge=0, le=1)]
Digest = Annotated[str, Field(description="Hash of its file: the same, the same model")]
ModelName = Annotated[str, Field(description="The name of the model")]


class ImageRecord(BaseModel):
    """What every answer says of an image."""

    path: Annotated[str, Field(description="The name of the image in the request")]
    top: Annotated[
        list[tuple[str, Probability]],
        Field(description="The likeliest classes with their probabilities, best first"),
    ]
    unknown: Annotated[bool, Field(description="Whether it is unlike the photos of all classes")]
    problem: Annotated[str, Field(description="Why the image cannot be read, else empty")]


class PredictionRecord(ImageRecord):
    """What a model says of an image."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "path": "new.jpg",
                "label": "roses",
                "probability": 0.97,
                "top": [["roses", 0.97], ["tulips", 0.02], ["daisy", 0.01]],
                "problem": "",
                "unknown": False,
                "distance": 1.1,
            }
        }
    )
    label: Annotated[str, Field(description="The likeliest class; empty if it cannot be read")]
    probability: Annotated[float, Field(description="Of that class, 0 to 1")]
    distance: Annotated[
        float,
        Field(description="From training photos; at 1 as far as these are from each other"),
    ]


class PredictionsRecord(BaseModel):
    """The answer of ``/predict``."""

    model: ModelName
    digest: Digest
    predictions: Annotated[list[PredictionRecord], Field(description="In the order of the images")]


class NeighbourRecord(BaseModel):
    """A training photo near to an image."""

    file: Annotated[str, Field(description="Its path below the data folder of the training")]
    label: Annotated[str, Field(alias="class", description="Its class")]
    distance: Annotated[float, Field(description="At 1 as far as training photos are usually")]


class ExplanationRecord(ImageRecord):
    """What in an image speaks for a class."""

    label: Annotated[str, Field(alias="class", description="The class that is explained")]
    probability: Annotated[float, Field(description="Of that class, 0 to 1")]
    largest_drop: Annotated[
        float | None,
        Field(description="How far a covered part lowers the probability, with occlusion"),
    ]
    neighbours: Annotated[list[NeighbourRecord], Field(description="The nearest first")]
    overlays: Annotated[
        dict[str, str],
        Field(description="The image with a heat map over it, by method, as PNG in base64"),
    ]


class ExplanationsRecord(BaseModel):
    """The answer of ``/explain``."""

    model: ModelName
    digest: Digest
    explanations: Annotated[list[ExplanationRecord], Field(description="In order of the images")]


class ModelRecord(BaseModel):
    """What there is to know of a model."""

    name: Annotated[str, Field(description="That of its run directory")]
    labels: Annotated[list[str], Field(description="Its classes")]
    backbone: str
    size: Annotated[int, Field(description="Side of its input in pixels")]
    digest: Digest
    accuracy: Annotated[float, Field(description="Measured in its training, 0 to 1")]
    measured_on: Annotated[str, Field(description="The split: validation or test")]


class StatusRecord(BaseModel):
    """Whether the server answers."""

    status: Annotated[str, Field(examples=["ok", "ready", "stopping"])]


class ErrorRecord(BaseModel):
    """Why a request is refused."""

    detail: Annotated[str, Field(description="What is wrong, and what to do")]


def errors(**reasons: str) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of refusals, from ``e413="too large"`` and the like."""
    found: dict[int | str, dict[str, Any]] = {}
    for name, reason in reasons.items():
        found[int(name[1:])] = {"model": ErrorRecord, "description": reason}
    if 503 in found:
        after = {"description": "Seconds to wait", "schema": {"type": "integer"}}
        found[503]["headers"] = {"Retry-After": after}
    return found
