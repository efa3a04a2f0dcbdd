"""A run behind Ray Serve answers what ``tlearn serve`` answers."""

import os

import httpx2
import pytest
from conftest import PLUGINS, ROOT
from fastapi.testclient import TestClient
from pydantic import ValidationError
from serving import free_port, in_form

from tlearn.serving.app import make_app
from tlearn.serving.model_store import ModelStore
from tlearn.serving.server_settings import ServerSettings


@pytest.mark.filterwarnings("ignore")  # those of Ray, which are many
def test_ray_serve_answers_the_same(toy_run):
    import ray
    from ray import serve

    from tlearn.serving.ray_deployment import Arguments, build

    with pytest.raises(ValidationError):
        Arguments(run=toy_run.run, replica=2)
    photos = sorted(toy_run.photos.rglob("*.png"))[::5]
    with TestClient(make_app(ModelStore([toy_run.run]), ServerSettings())) as client:
        expected = client.post("/predict", files=in_form(photos)).json()
    port = free_port()
    paths = os.pathsep.join([str(ROOT), str(PLUGINS)])
    ray.init(
        "local",  # whatever else runs on this machine
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": paths, "TLEARN_CACHE": str(toy_run.cache)}},
    )
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(build(Arguments(run=toy_run.run, batch_requests=4)))
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            whole = client.post("/", files=in_form(photos))
            assert whole.json() == expected
            kind = {"Content-Type": "image/png"}
            alone = client.post("/?top=1", content=photos[0].read_bytes(), headers=kind).json()
            assert alone["predictions"][0]["top"] == expected["predictions"][0]["top"][:1]
            assert client.post("/", content=b"x").status_code == 415
            assert client.post("/?top=0", files=in_form(photos)).status_code == 422
            known = client.post("/?reject=0", files=in_form(photos)).json()["predictions"]
            assert not any(record["unknown"] for record in known)
            form = {"Content-Type": "multipart/form-data; boundary=x"}
            broken = client.post("/", content=b"", headers=form)
            assert broken.status_code == 400 and "not whole" in broken.json()["detail"]
    finally:
        serve.shutdown()
        ray.shutdown()
