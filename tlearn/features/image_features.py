"""``extract_features``: the features of any layer of a backbone for a folder of images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tlearn.atomic import atomic_file
from tlearn.backbones import load_registry
from tlearn.backbones.availability import check_weights
from tlearn.config import RunConfig
from tlearn.data.read_data import read_source
from tlearn.data.scan import scan
from tlearn.errors import ConfigError, DataError, os_errors_as
from tlearn.features.cluster_engine import check_cluster
from tlearn.features.engines import choose
from tlearn.object_stores import as_path
from tlearn.progress import Progress, console_progress
from tlearn.settings import make_config

Pool = Literal["avg", "none"]
SUFFIXES = (".npz", ".parquet")


@dataclass(frozen=True)
class FeatureFile:
    """Features that were written to a file.

    Attributes:
        path: The file.
        shape: Images first.
        unreadable: Files that could not be read, with the reason; they have no row.
    """

    path: Path
    shape: tuple[int, ...]
    unreadable: tuple[tuple[str, str], ...]


def extract_features(
    data: str | Path,
    out: str | Path,
    *,
    layer: str = "",
    pool: Pool = "avg",
    quiet: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> FeatureFile:
    """Write the features of a layer for every image of a folder, with paths and labels.

    An ``.npz`` file has ``features`` (float32), ``paths``, ``labels`` and, as JSON, ``facts``; a
    ``.parquet`` file has the columns ``path``, ``label`` and ``features``, with the shape of the
    latter in its metadata. Features are computed in float32 unless ``precision`` is given, in
    constant memory.

    Args:
        data: As of :func:`tlearn.finetune`; images outside class folders have no label.
        out: The file; its ending decides the format. It must not exist.
        layer: Name of the layer; the topmost if not given.
        pool: ``avg`` for global average pooling, ``none`` for the full feature map.
        quiet: Show nothing while it works.
        progress: Where to show progress instead of standard error.
        **options: Fields of :class:`tlearn.RunConfig`: ``backbone``, ``weights``, ``size``,
            ``resize``, ``strict``, ``engine``, ``precision``, ``cluster``.

    Raises:
        TlearnError: If something given cannot be used; nothing is left behind.

    Example:
        >>> tlearn.extract_features("photos", "f.npz", backbone="vgg19", layer="block4_pool")
        ... # doctest: +SKIP
    """
    config = make_config(RunConfig(precision="float32"), options=options)
    path = _check_out(out)
    data, progress = as_path(data), progress or console_progress(quiet)
    backbone = load_registry().get(config.backbone)
    size, weights = backbone.checked_size(config.size), backbone.checked_weights(config.weights)
    check_weights(backbone, weights)
    choice = choose(config.engine, config.precision)
    check_cluster(config.cluster, [backbone.name], config.engine, config.precision)
    source = read_source(data, progress)
    # Not before all is checked: Keras takes seconds.
    from tlearn.features.built_backbone import load_backbone
    from tlearn.features.extraction import Extraction, extract, layer_model

    built = load_backbone(backbone, size, weights, config.seed)
    model = layer_model(built, layer, pool)
    manifest = scan(source, progress=progress, unlabelled=True, cluster=config.cluster)
    if config.strict:
        manifest.refuse_unreadable()
    facts = {
        "backbone": backbone.name,
        "weights": weights,
        "weights_digest": built.digest,
        "layer": layer or built.base.layers[-1].name,
        "pool": pool,
        "size": built.size,
        "resize": config.resize,
        "engine": choice.engine,
        "precision": choice.precision,
    }
    what = f"{str(path)!r} cannot be written"
    with os_errors_as(DataError, what, "choose another --out"), atomic_file(path) as file:
        compute = Extraction(model, config.resize, choice, config.cluster, backbone.modules)
        shape = extract(compute, manifest.files, file, facts, progress)
    return FeatureFile(path, shape, tuple((p.name, p.reason) for p in manifest.unreadable))


def _check_out(out: str | Path) -> Path:
    path = Path(out)
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            f"--out must end in {' or '.join(SUFFIXES)}, which is the format. "
            f"Received: {str(out)!r}"
        )
    if path.exists() or not path.parent.is_dir():
        what = "exists already" if path.exists() else "is in a folder that does not exist"
        raise ConfigError(f"--out {str(out)!r} {what}; choose another")
    return path
