"""The web service under load: what it takes on, refuses, gives up, and computes together."""

import asyncio
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from prometheus_client import Gauge
from serving import in_form, photos_of, scope, until

from tlearn.runs.classifier import Classifier
from tlearn.serving.admission import Admission, BusyError
from tlearn.serving.batching import Batcher
from tlearn.serving.served_model import ServedModel
from tlearn.serving.service import Taken


@pytest.fixture
def photos(toy_run):
    return photos_of(toy_run)


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
    while state.images_of(model).in_flight < 4:
        time.sleep(0.01)
    refused = client.post("/predict", files=in_form(photos[:1]))
    assert refused.status_code == 503 and int(refused.headers["Retry-After"]) >= 1
    assert 'tlearn_images_in_flight{model="toy"} 4.0' in client.get("/metrics").text
    go.set()
    for thread in asking:
        thread.join()
    assert [answer.status_code for answer in answers] == [200, 200]
    assert state.images_of(model).in_flight == state.bytes.in_flight == 0
    assert client.post("/predict", files=in_form(photos[:1])).is_success


def test_a_slow_model_takes_no_place_from_others(service, photos, toy_run_copy, tmp_path):
    other = shutil.copytree(toy_run_copy.run, tmp_path / "other")
    client = service(other, waiting_images=1)
    slow, _ = client.app.state.service.store.models()
    go, compute = threading.Event(), slow._batcher._compute
    slow._batcher._compute = lambda items: go.wait(30) and compute(items)

    def ask(name):
        answer = client.post("/predict", params={"model": name}, files=in_form(photos[:1]))
        return answer.status_code

    with ThreadPoolExecutor() as threads:
        first = threads.submit(ask, slow.name)
        until(lambda: client.app.state.service.images_of(slow).in_flight)
        assert ask(slow.name) == 503 and ask("other") == 200
        go.set()
        assert first.result() == 200


def test_what_takes_too_long_ends(service, photos, monkeypatch):
    client = service(seconds=0.2)
    model = client.app.state.service.store.models()[0]
    go, compute = threading.Event(), model._batcher._compute
    monkeypatch.setattr(model._batcher, "_compute", lambda items: go.wait(30) and compute(items))
    assert client.post("/predict", files=in_form(photos[:1])).status_code == 504
    go.set()


def test_a_first_burst_is_limited_by_what_the_engine_gave_at_the_start(
    service, photos, monkeypatch
):
    client = service(seconds=30)
    state = client.app.state.service
    (model,) = state.store.models()
    assert model.rate > 1
    model.rate = 0.1  # a slow one
    go, compute = threading.Event(), model._batcher._compute
    monkeypatch.setattr(model._batcher, "_compute", lambda items: go.wait(30) and compute(items))
    answers = []
    first = threading.Thread(
        target=lambda: answers.append(client.post("/predict", files=in_form(photos[:3])))
    )
    first.start()
    while state.images_of(model).in_flight < 3:
        time.sleep(0.01)
    refused = client.post("/predict", files=in_form(photos[:1]))
    assert refused.status_code == 503 and refused.headers["Retry-After"] == "10"
    go.set()
    first.join()
    assert answers[0].status_code == 200


def test_images_of_a_large_request_leave_room_to_others(service, photos):
    client = service()
    state = client.app.state.service
    (model,) = state.store.models()
    model.at_once = model._batcher._most = 1
    images, order = [(path.name, path.read_bytes()) for path in photos], []

    async def both():
        large = Taken(model, images * 4, lambda: order.append("large"))
        small = Taken(model, images[:1], lambda: order.append("small"))
        asked = asyncio.create_task(state.outputs(large))
        await asyncio.sleep(0)  # it is the first
        await asyncio.gather(asked, state.outputs(small))

    asyncio.run(both())
    assert len(order) == 25 and order.index("small") < 12


def test_images_of_a_client_that_has_gone_are_not_computed(service, photos):
    client = service()
    state = client.app.state.service
    (model,) = state.store.models()
    go, compute, computed = threading.Event(), model._batcher._compute, []

    def late(items):
        go.wait(30)
        computed.append(len(items))
        return compute(items)

    model._batcher._compute = late
    kind = {"content-type": "image/png"}
    messages = [
        {"type": "http.request", "body": photos[0].read_bytes(), "more_body": False},
        {"type": "http.disconnect"},
    ]
    sent = []

    async def receive():
        if len(messages) == 1:
            while state.images_of(model).in_flight == 0:
                await asyncio.sleep(0.001)
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    async def ask():
        # One for each thread is begun: these wait, and the next is still to be computed.
        waiting = []
        for _ in model._batcher._threads:
            waiting.append(model.submit(model.decode(photos[1].read_bytes())))
            while not waiting[-1].running():
                await asyncio.sleep(0.001)
        await client.app(scope("/predict", "POST", kind), receive, send)
        assert state.images_of(model).in_flight == state.bytes.in_flight == 0
        go.set()
        wait(waiting)
        assert sum(computed) == len(waiting)

    asyncio.run(ask())
    assert sent[0]["status"] == 499


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


class Clock:
    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def answer(self, admission, number, seconds):
        """Answer so many, which are in flight together, one every so many seconds."""
        with admission.admit(number) as answered:
            for _ in range(number):
                self.now += seconds
                answered()


def test_admission_goes_by_the_first_rate_until_others_are_measured(monkeypatch):
    clock = Clock(monkeypatch)
    gauge = Gauge("g", "g", registry=None)
    admission = Admission(30, gauge, seconds=5, rate=4, full=2)
    with admission.admit(90):  # alone, even more
        with pytest.raises(BusyError) as caught, admission.admit(1):
            pass
        assert caught.value.retry_after == 18  # until only 19 are left, at 4 a second
    with admission.admit(20), pytest.raises(BusyError):
        admission.check()  # it would wait for more than 5 seconds
    clock.answer(admission, 100, 0.1)
    with admission.admit(30), pytest.raises(BusyError) as caught:
        admission.check(20)
    assert caught.value.retry_after == 2  # 10 a second
    for _ in range(100):  # by one client after another; it would be faster with more
        clock.answer(admission, 1, 1.0)
        clock.now += 1000
    with admission.admit(30), pytest.raises(BusyError) as caught:
        admission.check(20)
    assert caught.value.retry_after == 2
    clock.answer(admission, 100, 1.0)  # it is slower now
    with admission.admit(4):
        admission.check(1)
        with pytest.raises(BusyError) as caught:
            admission.check(11)
        assert caught.value.retry_after == 10
    with admission.admit(4):  # of which none is answered
        clock.now += 10_000
        with pytest.raises(BusyError) as caught:
            admission.check(1)
    assert caught.value.retry_after == 45  # 0.1 a second
    assert admission.in_flight == gauge._value.get() == 0
    clock.answer(admission, 1, 0.1)
    for _ in range(40):  # as no more than one is taken on at a time now, its rate counts
        clock.answer(admission, 1, 0.1)
    with admission.admit(29):
        admission.check(1)


def test_the_first_rate_is_that_of_full_batches(toy_run, monkeypatch):
    model, outputs_of, seen = ServedModel(toy_run.run), Classifier.outputs_of, []

    def slow(self, photos):
        seen.append((len(photos), threading.current_thread()))
        time.sleep(0.02)
        return outputs_of(self, photos)

    monkeypatch.setattr(Classifier, "outputs_of", slow)
    slower = ServedModel(toy_run.run)
    # Two first calls of OpenVINO at a time may wait for each other for ever.
    assert seen[0] == (1, threading.current_thread())
    assert {number for number, _ in seen[1:]} == {model._batcher._most}
    assert 0 < slower.rate <= slower.at_once / 0.02
    for one in (model, slower):
        one.close()
