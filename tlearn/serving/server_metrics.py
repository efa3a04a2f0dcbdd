"""What the server counts, for Prometheus."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series of its own for each, of when it was first counted
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)  # memory, CPU time, open files
PlatformCollector(registry=REGISTRY)
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
REQUESTS = Counter(
    "tlearn_http_requests", "Requests that were answered", ["path", "status"], registry=REGISTRY
)
REQUEST_SECONDS = Histogram(
    "tlearn_http_request_duration_seconds",
    "From the head of a request to the end of its answer",
    ["path"],
    buckets=SECONDS,
    registry=REGISTRY,
)
IMAGES = Counter(
    "tlearn_images",
    "Images in requests, by what became of them: classified or unreadable",
    ["model", "state"],
    registry=REGISTRY,
)
BATCH_IMAGES = Histogram(
    "tlearn_batch_images",
    "Images that the engine computed at a time",
    ["model"],
    buckets=(1, 2, 4, 8, 16, 32),
    registry=REGISTRY,
)
BATCH_SECONDS = Histogram(
    "tlearn_batch_duration_seconds",
    "How long the engine computed them",
    ["model"],
    buckets=SECONDS,
    registry=REGISTRY,
)
LOADED = Gauge(
    "tlearn_model_load_timestamp_seconds",
    "When a model was loaded, in seconds since 1970",
    ["model"],
    registry=REGISTRY,
)
WAITING = Gauge(
    "tlearn_images_in_flight", "Images that are not answered yet", ["model"], registry=REGISTRY
)
BYTES = Gauge(
    "tlearn_requests_in_flight_bytes", "Of the bodies of requests in memory", registry=REGISTRY
)
EXPLANATIONS = Gauge(
    "tlearn_explanations_in_flight", "Explanations that are not made yet", registry=REGISTRY
)
