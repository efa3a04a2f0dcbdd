"""The web service: answers, limits, back-pressure, reloading, stopping."""

import asyncio
import base64
import threading
import time
from concurrent.futures import wait

import pytest
from fastapi.testclient import TestClient
from prometheus_client import Gauge
from prometheus_client.parser import text_string_to_metric_families

import tlearn
from tlearn.errors import ConfigError, RunError
from tlearn.serving.admission import Admission, BusyError
from tlearn.serving.app import make_app
from tlearn.serving.batching import Batcher
from tlearn.serving.model_store import ModelStore
from tlearn.serving.responses import (
    ExplanationsRecord,
    ModelRecord,
    PredictionRecord,
    PredictionsRecord,
)
from tlearn.serving.served_model import ServedModel
from tlearn.serving.server_settings import ServerSettings


@pytest.fixture
def service(toy_run_copy):
    """Return a function that starts a client of a server of the toy run, with settings."""
    clients = []

    def start(**settings):
        app = make_app(ModelStore([toy_run_copy.run]), ServerSettings(**settings))
        client = TestClient(app, raise_server_exceptions=False)
        client.__enter__()
        clients.append(client)
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def photos(toy_run):
    return sorted(path for path in toy_run.photos.rglob("*") if path.is_file())[:6]


def in_form(paths):
    return [("images", (path.name, path.read_bytes())) for path in paths]


def test_answers_equal_those_of_predict(service, toy_run, photos):
    expected = tlearn.Run(toy_run.run).predict(photos, top=2, reject=0.1)
    client = service()
    asked = {"params": {"top": 2, "reject": 0.1}}
    encoded = [
        {"data": base64.b64encode(path.read_bytes()).decode(), "name": path.name} for path in photos
    ]
    answers = [
        client.post("/predict", files=in_form(photos), **asked),
        client.post("/predict", json={"images": encoded}, **asked),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        PredictionsRecord.model_validate(answer.json(), extra="forbid")
        for got, want in zip(answer.json()["predictions"], expected, strict=True):
            assert got["path"] == want.path.name and got["unknown"] == want.unknown
            assert [label for label, _ in got["top"]] == [label for label, _ in want.top]
            assert got["top"][0][1] == pytest.approx(want.probability, abs=1e-4)
    data = photos[0].read_bytes()
    alone = client.post("/predict", content=data, headers={"Content-Type": "image/png"}).json()
    assert alone["predictions"][0]["top"][0][0] == expected[0].label


def test_an_image_that_cannot_be_read_is_said_beside_the_others(service, photos):
    files = [*in_form(photos[:1]), ("images", ("words.txt", b"no image"))]
    first, second = service().post("/predict", files=files).json()["predictions"]
    assert first["top"] and not first["problem"]
    assert second["path"] == "words.txt" and "not an image" in second["problem"]


def as_form(body, boundary="; boundary=x"):
    return {"content": body, "headers": {"Content-Type": f"multipart/form-data{boundary}"}}


def test_wrong_requests_are_refused_in_words(service, photos):
    client = service(request_images=2, request_bytes=100_000)
    large = b"x" * 100_001
    part = b'--x\r\nContent-Disposition: form-data; name="i"; filename="a"\r\n\r\n1\r\n'
    field = b'Content-Disposition: form-data; name="i"\r\n\r\n1\r\n--x\r\n'
    for status, words, arguments in (
        (415, "is not read", {"content": b"x", "headers": {"Content-Type": "text/plain"}}),
        (400, "no image", {"json": {"images": []}}),
        (400, "not base64", {"json": {"images": [{"data": "?"}]}}),
        (400, "not base64", {"json": {"images": [{"data": "ä"}]}}),
        (400, "images", {"json": {"pictures": []}}),
        (400, "Invalid JSON", {"content": b"{", "headers": {"Content-Type": "application/json"}}),
        (413, "more than 2 images", {"files": in_form(photos[:3])}),
        (413, "more than 2 images", {"json": {"images": [{"data": ""}] * 3}}),
        (400, "No boundary", as_form(b"--x--", "")),
        (400, "not whole", as_form(b"")),
        (400, "not whole", as_form(part)),
        (400, "cannot be read", as_form(b"--x\r\nA: b\r\n\r\n--x--\r\n")),
        (400, "many fields", as_form(b"--x\r\n" + field * 17)),
        (400, "no image", as_form(b"--x\r\n" + field[:-2] + b"--")),
        (413, "0.1 MB", {"content": large, "headers": {"Content-Type": "image/png"}}),
        (400, "no model 'other'", {"params": {"model": "other"}, "files": in_form(photos[:1])}),
        (422, "less than or equal", {"params": {"reject": 2}, "files": in_form(photos[:1])}),
        (400, "no class", {"params": {"label": "other"}, "files": in_form(photos[:1])}),
    ):
        address = "/explain" if "label" in arguments.get("params", {}) else "/predict"
        answer = client.post(address, **arguments)
        assert answer.status_code == status, (words, answer.text)
        assert words in answer.text

    def unending():  # of no length that is told beforehand
        for _ in range(200):
            yield b"x" * 1000

    answer = client.post("/predict", content=unending(), headers={"Content-Type": "image/png"})
    assert answer.status_code == 413


def test_explanations_have_pictures_and_similar_photos(service, photos, toy_run_copy):
    client = service()
    answer = client.post("/explain", files=in_form(photos[:1])).json()
    ExplanationsRecord.model_validate(answer, extra="forbid")
    (record,) = answer["explanations"]
    assert record["path"] == photos[0].name and record["neighbours"]
    assert base64.b64decode(record["overlays"]["grad-cam"]).startswith(b"\x89PNG")
    refused = client.post("/explain", files=in_form(photos[:1]) * 9)
    assert refused.status_code == 413 and "more than 8 images" in refused.text
    (toy_run_copy.run / "model.keras").touch()  # what it reads now may be of another model
    changed = client.post("/explain", files=in_form(photos[:1]))
    assert changed.status_code == 400 and "reload the model" in changed.text


def test_a_key_is_asked_for_but_not_by_what_watches_the_server(service, photos):
    client = service(key="sésame")
    for headers in ({}, {"X-API-Key": "other"}, {"Authorization": "Bearer other"}):
        answer = client.post("/predict", files=in_form(photos[:1]), headers=headers)
        assert answer.status_code == 401
    for headers in ({"X-API-Key": "sésame".encode()}, {"Authorization": "Bearer sésame".encode()}):
        assert client.post("/predict", files=in_form(photos[:1]), headers=headers).is_success
    assert client.get("/health").is_success and client.get("/ready").is_success
    assert client.get("/metrics").status_code == 401


def test_openapi_has_examples_errors_and_the_key(service):
    page = service(key="k").get("/openapi.json").json()
    predict = page["paths"]["/predict"]["post"]
    assert set(predict["requestBody"]["content"]) == {
        "multipart/form-data", "application/json", "image/*"
    }  # fmt: skip
    assert {"200", "400", "408", "413", "415", "422", "503", "504"} <= set(predict["responses"])
    assert "Retry-After" in predict["responses"]["503"]["headers"]
    assert predict["security"] == [{"APIKeyHeader": []}]
    schemas = page["components"]["schemas"]
    PredictionRecord.model_validate(schemas["PredictionRecord"]["example"], extra="forbid")
    assert "security" not in page["paths"]["/health"]["get"]


def test_metrics_are_named_as_prometheus_asks(service, photos):
    client = service()
    client.post("/predict", files=in_form(photos[:2]))
    families = list(text_string_to_metric_families(client.get("/metrics").text))
    ours = {family.name: family for family in families if family.name.startswith("tlearn_")}
    assert {
        "tlearn_http_requests", "tlearn_http_request_duration_seconds", "tlearn_images",
        "tlearn_batch_images", "tlearn_batch_duration_seconds", "tlearn_images_in_flight",
        "tlearn_requests_in_flight_bytes", "tlearn_explanations_in_flight",
        "tlearn_model_load_timestamp_seconds",
    } == set(ours)  # fmt: skip
    assert all(family.documentation for family in ours.values())
    sums = [s for s in ours["tlearn_batch_images"].samples if s.name.endswith("_sum")]
    assert {s.labels["model"]: s.value for s in sums}["toy"] >= 2
    assert any(family.name == "process_resident_memory_bytes" for family in families)


def test_more_than_fits_is_refused_until_there_is_room(service, photos, monkeypatch):
    client = service(waiting_images=4)
    state = client.app.state.service
    model = state.store.models()[0]
    go, compute = threading.Event(), model._batcher._compute
    monkeypatch.setattr(model._batcher, "_compute", lambda items: go.wait(30) and compute(items))
    answers = []
    asking = [
        threading.Thread(
            target=lambda: answers.append(client.post("/predict", files=in_form(photos[:2])))
        )
        for _ in range(2)
    ]
    for thread in asking:
        thread.start()
    while state.images.in_flight < 4:
        time.sleep(0.01)
    refused = client.post("/predict", files=in_form(photos[:1]))
    assert refused.status_code == 503 and int(refused.headers["Retry-After"]) >= 1
    assert "tlearn_images_in_flight 4.0" in client.get("/metrics").text
    go.set()
    for thread in asking:
        thread.join()
    assert [answer.status_code for answer in answers] == [200, 200]
    assert state.images.in_flight == state.bytes.in_flight == 0
    assert client.post("/predict", files=in_form(photos[:1])).is_success


def test_what_takes_too_long_ends(service, photos, monkeypatch):
    client = service(seconds=0.2)
    model = client.app.state.service.store.models()[0]
    go, compute = threading.Event(), model._batcher._compute
    monkeypatch.setattr(model._batcher, "_compute", lambda items: go.wait(30) and compute(items))
    assert client.post("/predict", files=in_form(photos[:1])).status_code == 504
    go.set()


def test_a_model_is_replaced_while_it_answers(service, toy_run_copy, photos):
    client = service()
    store = client.app.state.service.store
    name = store.names[0]
    (card,) = client.get("/models").json()
    assert ModelRecord.model_validate(card, extra="forbid").labels == ["blue", "green", "red"]
    with store.lease(name) as before:
        assert client.post(f"/models/{name}/reload").json()["name"] == name
        with store.lease(None) as now:
            assert now is not before
        views = before.decode(photos[0].read_bytes())
        assert before.submit(views).result(30)  # it goes on for those who have it
    with pytest.raises(RuntimeError, match="closed"):
        before.submit(views)
    model = toy_run_copy.run / "model.keras"
    whole = model.read_bytes()
    model.write_bytes(whole[:100])
    answer = client.post(f"/models/{name}/reload")
    assert answer.status_code == 409 and "the model before goes on" in answer.text
    assert client.post("/predict", files=in_form(photos[:1])).is_success
    assert client.post("/models/other/reload").status_code == 404


def test_the_engine_has_computed_before_several_threads_ask_it(toy_run):
    """Two first calls of OpenVINO at a time may wait for each other for ever."""
    model = ServedModel(toy_run.run)
    assert len(model.run.classifier._engine._idle) == 1
    model.close()


def test_runs_of_one_name_and_runs_without_a_model_are_refused(toy_run_copy, tmp_path):
    with pytest.raises(ConfigError, match="two runs are called"):
        ModelStore([toy_run_copy.run, toy_run_copy.run])
    with pytest.raises(RunError):
        ModelStore([tmp_path])


def test_batches_are_of_what_arrived_meanwhile_and_errors_go_to_who_waits():
    sizes, go = [], threading.Event()

    def compute(items):
        go.wait(30)
        sizes.append(len(items))
        if "bad" in items:
            raise ValueError("bad")
        return [item * 2 for item in items]

    batcher = Batcher(compute, 4, 1)
    first = batcher.submit("a")
    while first.running() is False:
        time.sleep(0.001)
    rest = [batcher.submit(f"b{i}") for i in range(6)]
    rest[1].cancel()  # whoever asked has gone
    go.set()
    wait([first, *rest])
    assert sizes == [1, 3, 2] and rest[5].result() == "b5b5"
    assert isinstance(batcher.submit("bad").exception(30), ValueError)
    assert batcher.submit("c").result(30) == "cc"  # the thread goes on
    batcher.close()
    with pytest.raises(RuntimeError):
        batcher.submit("d")


def test_admission_counts_and_says_when_to_come_again(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    admission = Admission(30, Gauge("g", "g", registry=None), seconds=5)

    def answer(number, seconds):
        with admission.admit(number):
            now[0] += seconds

    with admission.admit(90):  # alone, even more
        with pytest.raises(BusyError) as caught, admission.admit(1):
            pass
        assert caught.value.retry_after == 1
    for _ in range(20):
        answer(2, 0.1)
        now[0] += 1000  # of nothing in flight, which is no sign of how fast it is
    with admission.admit(30), pytest.raises(BusyError) as caught:
        admission.check(20)
    assert caught.value.retry_after == 1  # 20 a second
    for _ in range(200):
        answer(2, 1.0)  # it is slower now
    with admission.admit(9):
        admission.check(1)
        with pytest.raises(BusyError) as caught:  # they would wait for 10 seconds
            admission.check(11)
    assert caught.value.retry_after == 5 and admission.in_flight == 0
    for _ in range(200):  # nothing is answered in time: one at a time from now on
        with pytest.raises(asyncio.CancelledError), admission.admit(2):
            raise asyncio.CancelledError
    with admission.admit(2), pytest.raises(BusyError):
        admission.check(1)
    admission.check(2)
