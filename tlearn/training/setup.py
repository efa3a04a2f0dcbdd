"""What a training works with: configuration, backbone, stages, images, and a clock."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from tlearn.backbones import load_registry
from tlearn.config import RunConfig
from tlearn.data.data_source import DataSource
from tlearn.data.earlier_splits import EarlierSplits
from tlearn.data.file_table import FileTable
from tlearn.data.layouts import SPLITS
from tlearn.data.scan import Manifest
from tlearn.data.splits import Splits, load_dataset
from tlearn.data.views import Rendering
from tlearn.features.activation_cache import Cache
from tlearn.features.activations import Activations
from tlearn.features.built_backbone import BuiltBackbone, BuiltBoundary, load_backbone
from tlearn.features.cluster_engine import check_cluster
from tlearn.features.engines import choose
from tlearn.features.image_views import ImageViews
from tlearn.progress import Progress
from tlearn.runs.measurement import class_numbers
from tlearn.runs.run import Run
from tlearn.training.carried_head import CarriedHead
from tlearn.training.feed import Feed
from tlearn.training.head import own_head
from tlearn.training.network import Network
from tlearn.training.probe import Start, sample_size
from tlearn.training.replicas import Replicas
from tlearn.training.stages import StagePlan, plan_stages
from tlearn.training.stopwatch import Stopwatch

SHOWN = 10  # names of layers in a line
Log = Callable[..., None]  # called with the kind of event, and its fields by name


@dataclass(frozen=True)
class Targets:
    """What the images are: class indices, and the weight of each class in the loss."""

    train: np.ndarray
    validation: np.ndarray
    class_weights: np.ndarray

    def of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return targets ``(n, classes)`` and weights ``(n,)`` of training images by position."""
        y, classes = self.train[rows], np.arange(len(self.class_weights))
        return (y[:, None] == classes).astype(np.float32), self.class_weights[y]


@dataclass(frozen=True)
class Setup:
    """What a training works with.

    Attributes:
        config: The configuration, with everything filled in.
        built: The backbone with the weights it was loaded with.
        views: Views per training image that take turns, or 0 for a fresh one in every epoch.
        activations: Those at the boundaries of the stages.
        splits: The images; those of the test split are not used.
        log: Is given every event.
        started: When the time budget began, by :func:`time.monotonic`.
        earlier: Where images were in a run that is continued, by content and group.
        replicas: The devices and workers that train the stages together.
    """

    config: RunConfig
    built: BuiltBackbone
    stages: tuple[StagePlan, ...]
    views: int
    activations: Activations
    manifest: Manifest
    splits: Splits
    progress: Progress
    log: Log = lambda kind, **fields: None
    clock: Stopwatch = field(default_factory=Stopwatch)
    started: float = field(default_factory=time.monotonic)
    earlier: EarlierSplits | None = None
    replicas: Replicas = field(default_factory=Replicas)

    @property
    def deadline(self) -> float:
        """When the time budget is used up, by :func:`time.monotonic`."""
        return self.started + self.config.time_budget if self.config.time_budget else np.inf

    @cached_property
    def targets(self) -> Targets:
        """Class indices, and weights of 1 or inversely proportional to the class's images."""
        labels = self.splits.labels
        y = [class_numbers(files, labels) for files in (self.splits.train, self.splits.validation)]
        mode, counts = self.config.class_weights, np.bincount(y[0], minlength=len(labels))
        balanced = mode == "balanced" or (mode == "auto" and counts.max() > 2 * counts.min())
        weights = counts.mean() / counts if balanced else np.ones(len(counts))
        return Targets(y[0], y[1], weights.astype(np.float32))

    @property
    def probe_views(self) -> int:
        """How many views of each training image the probe sees."""
        return probe_views(self.built, self.splits, self.views)

    @cached_property
    def carried(self) -> CarriedHead | None:
        """The head of the run that is continued, if one is."""
        path = self.config.from_run
        return CarriedHead.of(Run(path)) if path else None

    def start_of_probe(self, files: FileTable) -> Start | None:
        """Return what a probe of some images goes on from, if a run is continued."""
        if self.carried is None or self.config.head.is_random:
            return None
        new = np.ones(len(files), bool)
        if self.earlier is not None:
            new = self.earlier.of(files) != SPLITS.index("train")
        return Start(self.carried.linear(self.splits.labels), new)

    def all_views(self, views: int) -> ImageViews:
        """Return the first views of the training images, and the plain ones for validation."""
        train = ImageViews.of(self.splits.train, max(1, views))
        return ImageViews.concatenated([train, ImageViews(self.splits.validation)])

    def feeds(self, network: Network, number: int) -> tuple[Feed, Feed]:
        """Return the training and the validation feed of a stage, by its position."""
        boundary = self.stages[number].boundary
        train = self.feed(network, boundary, sum(p.stage.epochs for p in self.stages[:number]))
        return train, replace(train, files=self.splits.validation, views=1, past=0)

    def feed(self, network: Network, boundary: BuiltBoundary | None, past: int = 0) -> Feed:
        """Return the training images for what is above a boundary, after so many epochs."""
        columns, seed = network.columns_below(boundary), self.config.seed
        files = self.splits.train
        return Feed(self.activations, boundary, columns, files, self.views, seed, past)


def read_setup(
    config: RunConfig,
    data: DataSource | tuple[Manifest, Splits],
    cache: Cache,
    progress: Progress,
    clock: Stopwatch | None = None,
    log: Log = lambda kind, **fields: None,
    earlier: EarlierSplits | None = None,
) -> Setup:
    """Build the backbone, find the boundaries of the stages, and read the data that was listed.

    Of a run that is continued, ``earlier`` tells where images were.

    Raises:
        BackboneError: If the backbone cannot be built as asked for.
        DataError: If the data cannot be used.
    """
    clock = clock or Stopwatch()
    started = time.monotonic() - clock.own_seconds("total")
    check_cluster(config.cluster, [config.backbone], config.engine, config.precision)
    with clock.part("backbone"):
        backbone = load_registry().get(config.backbone)
        weights = config.weights or "none"
        skip, pooling = config.skip_mismatch, config.head.pooling
        built = load_backbone(backbone, config.size, weights, config.seed, skip, pooling)
        if built.left_out:
            names, more = ", ".join(built.left_out[:SHOWN]), len(built.left_out) - SHOWN
            names += f" and {more} more" if more > 0 else ""
            progress.say(f"not in {weights!r}, so these layers keep random weights: {names}")
        stages = plan_stages(config.stages or (), built)
    with clock.part("scan"):
        dataset = (
            load_dataset(data, config, progress, earlier) if isinstance(data, DataSource) else data
        )
    if config.head.module:  # before anything is computed for it
        width = sum(tap.width for tap in built.taps)
        own_head(config.head.module, width, len(dataset[1].labels), config.seed)
    views = 0
    if isinstance(config.views, int):  # no more than there are epochs to show them
        shown = probe_views(built, dataset[1], config.views)
        views = min(config.views, max(shown, sum(p.stage.epochs for p in stages)))
    rendering = Rendering(built.size, config.resize, config.augment)
    boundaries = [p.boundary for p in stages if p.boundary is not None]
    choice = choose(config.engine, config.precision)
    activations = Activations(built, rendering, boundaries, cache, choice, progress, config.cluster)
    return Setup(
        config, built, stages, views, activations, *dataset, progress, log, clock, started, earlier
    )


def probe_views(built: BuiltBackbone, splits: Splits, views: int) -> int:
    """Return how many views of each training image a probe sees, if there are so many."""
    width = sum(tap.width for tap in built.taps)
    return sample_size(len(splits.train), views, width)[1]
