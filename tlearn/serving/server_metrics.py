"""What the server counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
REQUESTS = Counter(
    "tlearn_requests", "Requests that were answered", ["path", "status"], registry=REGISTRY
)
REQUEST_SECONDS = Histogram(
    "tlearn_request_seconds",
    "From the first byte of a request to the last of its answer",
    ["path"],
    buckets=SECONDS,
    registry=REGISTRY,
)
IMAGES = Counter(
    "tlearn_images",
    "Images in requests, by what became of them",
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
WAITING = Gauge("tlearn_images_in_flight", "Images that are not answered yet", registry=REGISTRY)
BYTES = Gauge("tlearn_bytes_in_flight", "Bytes of requests in memory", registry=REGISTRY)
EXPLANATIONS = Gauge(
    "tlearn_explanations_in_flight", "Explanations that are not made yet", registry=REGISTRY
)
