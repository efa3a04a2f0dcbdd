"""The hooks a plugin may implement."""

from collections.abc import Iterable

import pluggy

from tlearn.backbones.spec import Backbone

hookspec = pluggy.HookspecMarker("tlearn")
hookimpl = pluggy.HookimplMarker("tlearn")


@hookspec
def tlearn_backbones() -> Backbone | Iterable[Backbone]:  # type: ignore[empty-body]
    """Return the backbones this plugin offers: frozen data, nothing is registered on the side."""
