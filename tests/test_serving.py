"""The web service: what it answers and refuses, and models that are replaced meanwhile."""

import base64
import gc
import threading
import weakref

import pytest
from prometheus_client.parser import text_string_to_metric_families
from serving import in_form, photos_of, rename_classes, until

import tlearn
from tlearn.errors import ConfigError, RunError
from tlearn.serving import served_model
from tlearn.serving.model_store import ModelStore
from tlearn.serving.responses import (
    ExplanationsRecord,
    ModelRecord,
    PredictionRecord,
    PredictionsRecord,
)
from tlearn.serving.served_model import ServedModel


@pytest.fixture
def photos(toy_run):
    return photos_of(toy_run)


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
        (415, "'gzip'", {"content": b"x", "headers": {"Content-Encoding": "gzip"}}),
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


def test_explanations_are_of_the_model_that_was_loaded(service, photos, toy_run_copy, monkeypatch):
    client = service()
    form = in_form(photos[:1])
    before = client.post("/explain", files=form).json()
    labels = rename_classes(toy_run_copy.run / "model.keras")
    refused = client.post("/explain", files=form)  # what it reads now is of another
    assert refused.status_code == 409 and "reload the model" in refused.text
    assert client.post("/predict", files=form).json()["digest"] == before["digest"]
    assert client.post("/models/toy/reload").is_success
    after = client.post("/explain", files=form).json()
    assert after["digest"] != before["digest"]
    assert after["explanations"][0]["class"] in labels
    explain = served_model.explain

    def late(*arguments, **given):
        (toy_run_copy.run / "outputs.npz").touch()
        return explain(*arguments, **given)

    monkeypatch.setattr(served_model, "explain", late)
    assert client.post("/explain", files=form).status_code == 409


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
        go, compute = threading.Event(), before._batcher._compute
        before._batcher._compute = lambda items: go.wait(30) and compute(items)
        last = before.submit(views)
    # Nobody has it any more, and nobody waits for its last batch.
    with pytest.raises(RuntimeError, match="closed"):
        before.submit(views)
    assert not last.done()
    go.set()
    assert last.result(30)
    model = toy_run_copy.run / "model.keras"
    whole = model.read_bytes()
    model.write_bytes(whole[:100])
    answer = client.post(f"/models/{name}/reload")
    assert answer.status_code == 409 and "the model before goes on" in answer.text
    assert client.post("/predict", files=in_form(photos[:1])).is_success
    assert client.post("/models/other/reload").status_code == 404


def test_a_model_that_was_replaced_leaves_the_memory_at_once(toy_run):
    store = ModelStore([toy_run.run])
    before = weakref.ref(store.models()[0])
    gc.disable()  # which may come late: what a model holds is not Python's
    try:
        store.reload(store.names[0])
        until(lambda: before() is None, 60)
    finally:
        gc.enable()
        store.close()


def test_runs_of_one_name_and_runs_without_a_model_are_refused(toy_run_copy, tmp_path):
    with pytest.raises(ConfigError, match="two runs are called"):
        ModelStore([toy_run_copy.run, toy_run_copy.run])
    with pytest.raises(RunError):
        ModelStore([tmp_path])


def test_a_fault_of_the_server_is_counted_as_one(service, photos, monkeypatch):
    client = service()

    def fail(*_):
        raise AssertionError

    monkeypatch.setattr(ServedModel, "answer", fail)
    assert client.post("/predict", files=in_form(photos[:1])).status_code == 500
    counted = 'tlearn_http_requests_total{path="/predict",status="500"}'
    assert counted in client.get("/metrics").text


def test_what_watches_the_server_may_ask_for_the_head_alone(service):
    client = service()
    for path in ("/health", "/ready"):
        answer = client.head(path)
        assert answer.status_code == 200 and not answer.content
