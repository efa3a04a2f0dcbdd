"""Whether trained weights can be had, known before anything is read, built or trained."""

import functools
import threading
import time
import urllib.error
import urllib.request

from tlearn.backbones.contract import Backbone
from tlearn.backbones.registry import load_registry
from tlearn.backbones.weight_sources import Weights
from tlearn.errors import BackboneError

PATIENCE = 10.0  # seconds in which a host must answer
RESUMED = (
    "a run is continued with the weights that it began with: put them back, or point KERAS_HOME "
    "at a folder that has them in models/"
)
REMEMBERED = 60.0  # seconds for which its answer is not asked for again, at most


def check_weights(backbone: Backbone, weights: str | None, resumed: bool = False) -> None:
    """Refuse weights that are not on this machine and cannot be fetched, or are not those known.

    It takes seconds at most.

    Args:
        backbone: The facts.
        weights: As of :meth:`Backbone.checked_weights`.
        resumed: Whether a run is continued, which takes no others.

    Raises:
        BackboneError: If there are none, and the message names the backbones whose weights are
            here; or the file in a package is another than known.
    """
    if reason := missing_weights(backbone, weights):
        others = RESUMED if resumed else advice()
        raise BackboneError(
            f"the weights of {backbone.name} are not on this machine: {reason}; {others}",
            "weights",
        )
    record = _record(backbone, weights)
    if record and record.package:
        record.read()


def _record(backbone: Backbone, weights: str | None) -> Weights | None:
    name = backbone.checked_weights(weights)
    return next((one for one in backbone.weights if one.name == name), None)


def missing_weights(backbone: Backbone, weights: str | None) -> str:
    """Return why weights cannot be had, or an empty text where they can, or it is not known."""
    record = _record(backbone, weights)
    if record is None or record.on_this_machine is not False:
        return ""
    if record.package:
        return f"run 'pip install {record.package}'"
    reason = _silence(record.host, int(time.monotonic() / REMEMBERED)) if record.host else ""
    return f"{record.host} cannot be reached ({reason})" if reason else ""


def backbones_with_weights() -> list[str]:
    """Return the names of the backbones whose weights are on this machine and can be used."""
    first = {name: b.weights[0] for name, b in load_registry().backbones.items() if b.weights}
    return [name for name, one in first.items() if one.on_this_machine and not one.problem]


def advice() -> str:
    """Return what to do about weights that cannot be had, for the end of a message."""
    names = ", ".join(backbones_with_weights())
    here = f"choose a backbone whose weights are here ({names}), " if names else ""
    return (
        f"{here}give a file with --weights FILE, point KERAS_HOME at a folder that has them in "
        f"models/, or start from random weights with --weights none"
    )


@functools.cache
def _silence(host: str, period: int) -> str:
    """Return why a host does not answer, or an empty text; the period limits what is remembered.

    Proxies of the environment are used. Looking up a name can take longer than any timeout of a
    connection, so it is left to itself after a while.
    """
    reasons = [f"no answer in {PATIENCE:.0f} s"]

    def ask() -> None:
        request = urllib.request.Request(f"https://{host}/", method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=PATIENCE).close()
        except urllib.error.HTTPError:
            pass  # an answer
        except OSError as error:
            reason = getattr(error, "reason", error)
            reasons.append(str(getattr(reason, "strerror", None) or reason))
            return
        reasons.append("")

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return reasons[-1]
