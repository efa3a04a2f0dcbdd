"""What a server allows."""

from dataclasses import dataclass

MB = 1_000_000


@dataclass(frozen=True)
class ServerSettings:
    """Limits of a server.

    Attributes:
        key: What requests must bring in ``X-API-Key`` or as a bearer token; empty for none.
        request_bytes: Of one request, at most.
        request_images: Of one request, at most.
        waiting_images: Images for a model that are not answered yet, at most; further requests
            are refused until then.
        memory_bytes: Of the bodies of all requests that are not answered yet, at most.
        seconds: Within which the body of a request must come, and within which the request is
            answered after that.
        drain_seconds: From the signal to stop to when no further requests are taken on.
    """

    key: str = ""
    request_bytes: int = 64 * MB
    request_images: int = 256
    waiting_images: int = 256
    memory_bytes: int = 512 * MB
    seconds: float = 30.0
    drain_seconds: float = 1.0
