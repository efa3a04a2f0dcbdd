"""The live camera: the picture, and beside it what a run says of it, several times a second."""

from pathlib import Path

from tlearn.runs.run_store import RunSummary
from tlearn.web.components.uploader import component
from tlearn.web.live import PHOTOS, live_url
from tlearn.web.live_process import live_classifier
from tlearn.web.words import t

WORDS = (
    "keep shoot switch start stop asking loading denied missing busy insecure unknown rate"
).split()


def live_camera(run: RunSummary) -> Path | None:
    """Show the camera; return the folder of a photo that was just kept."""
    live_classifier(run.path).start()  # it reads the model while the browser asks for the camera
    words = {name: t(f"live.{name}") for name in WORDS}
    result = component("live_camera")(
        key="live",
        data={
            "url": live_url(run.name),
            "labels": list(run.labels),
            "words": words | {"no_server": t("upload.no_server")},
        },
        on_kept_change=lambda: None,
    )
    return PHOTOS.pop(str(result.kept), None)
