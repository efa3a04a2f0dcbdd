"""What is asked of a model in the address of a request, as ``/predict?top=5``."""

from typing import Annotated

from pydantic import BaseModel, Field

from tlearn.runs.unknown import MOST_REJECT, REJECT

WhichModel = Annotated[str | None, Field(description="Which model, if there are several")]


class PredictQuery(BaseModel):
    """The parameters of ``/predict``."""

    model: WhichModel = None
    top: Annotated[int, Field(ge=1, le=100, description="Classes for each image")] = 3
    reject: Annotated[
        float, Field(ge=0, le=MOST_REJECT, description="Of known images, the part called unknown")
    ] = REJECT
