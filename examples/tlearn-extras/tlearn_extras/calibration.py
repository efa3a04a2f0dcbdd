"""A report section on calibration: are 80 % right at a probability of 80 %? (Guo et al., 2017)."""

from statistics import mean
from typing import Any

from tlearn.backbones import ReportSection, hookimpl

BINS = 10
SIZE = 300  # of the picture, in pixels


def binned(predictions: list[tuple[float, bool]]) -> list[tuple[float, float, int]]:
    """Return mean probability, accuracy and number of images for each bin that has any."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for probability, right in predictions:
        bins[min(int(probability * BINS), BINS - 1)].append((probability, right))
    return [(mean(p for p, _ in one), mean(r for _, r in one), len(one)) for one in bins if one]


def error(bins: list[tuple[float, float, int]]) -> float:
    """Return the expected calibration error: how far off probabilities are on average, 0 to 1."""
    return sum(n * abs(p - r) for p, r, n in bins) / sum(n for _, _, n in bins)


def _dot(probability: float, right: float, n: int, total: int) -> str:
    x, y, radius = probability * SIZE, (1 - right) * SIZE, 3 + (100 * n / total) ** 0.5
    title = f"{n} images: probability {probability:.0%}, {right:.0%} right"
    return (
        f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{radius:.0f}" fill="#4c78a8">'
        f"<title>{title}</title></circle>"
    )


def render(run: Any) -> str:
    """Predict the test images, or those of validation, and compare probability and accuracy."""
    split = run.measured_split
    images = run.images(split)
    predictions = run.predict([path for path, _ in images])
    pairs = zip(predictions, images, strict=True)
    bins = binned([(p.probability, p.label == label) for p, (_, label) in pairs])
    dots = "".join(_dot(p, r, n, len(images)) for p, r, n in bins)
    return (
        f"<p>On the {len(images)} {split} images, probabilities are off by {error(bins):.1%} on "
        f"average. Dots below the line: overconfident.</p>"
        f'<svg viewBox="-12 -12 {SIZE + 24} {SIZE + 24}" width="{SIZE}" role="img" '
        f'aria-label="accuracy against probability">'
        f'<path d="M0 0V{SIZE}H{SIZE}M0 {SIZE}L{SIZE} 0" fill="none" stroke="#888"/>{dots}</svg>'
    )


@hookimpl
def tlearn_reports() -> ReportSection:
    """Offer it."""
    return ReportSection("calibration", "Calibration of the probabilities", render)
