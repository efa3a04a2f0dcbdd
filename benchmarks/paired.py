"""Whether one method of training is better than another: paired over sets, seeds and photos.

Two questions, of which the second asks for more:

*Is it better on these sets?* The trainings would be repeated with other seeds and measured on other
photos of the same kinds. Trainings of a set are not independent: those that are measured on the
same photos share the luck of these photos. So for a set with ``K`` seeds the variance of its mean
difference is ``s² / K``, from the spread ``s`` over the seeds, plus the covariance that photos
which are measured in two trainings give their means. This is the variance of a mean over two
crossed random factors, trainings and photos, by the method of moments (Searle, Casella and
McCulloch, Variance Components, 1992), for splits that are drawn anew and given test folders alike.
Each set counts the same, whatever its number of photos. The degrees of freedom of the t
distribution are Satterthwaite's (1946): ``K - 1`` for each spread over seeds, many for photos.

*Is it better on sets at large?* The sets are a sample, each of which gives one number: the paired
t-test of their mean differences. With five sets it sees only what nearly all of them agree on.

What is compared is a number for each photo: right or wrong, or its log loss. The values of p hold
for a single comparison: who tries twenty ideas on the same seeds finds one of them significant by
chance.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

Scores = Mapping[str, Mapping[int, Mapping[str, float]]]  # by set, seed and photo


@dataclass(frozen=True)
class Difference:
    """The mean score of one method less that of another.

    Attributes:
        sets: By set, the mean over seeds.
        mean: Over the sets.
        half: Half the width of its 95% interval on these sets; not finite with one seed a set.
        p: Probability of so large a difference on these sets without a real one; the same.
        p_at_large: The same on sets at large; not finite with a single set.
    """

    sets: dict[str, float]
    mean: float
    half: float
    p: float
    p_at_large: float


def difference(first: Scores, second: Scores) -> Difference:
    """Compare two methods on the sets, seeds and photos that both were measured on.

    Raises:
        ValueError: If there are none, or their photos differ.
    """
    sets, parts = {}, []
    for name in [name for name in first if name in second]:
        seeds = sorted(first[name].keys() & second[name].keys())
        pairs = [(first[name][seed], second[name][seed]) for seed in seeds]
        if any(one.keys() != other.keys() for one, other in pairs):
            raise ValueError(f"two methods were measured on different photos of {name!r}")
        if pairs:
            trainings = [{p: one[p] - other[p] for p in one} for one, other in pairs]
            sets[name], of_seeds, of_photos = mean_and_variances(trainings)
            parts.append((of_seeds, of_photos, len(seeds) - 1))
    if not sets:
        raise ValueError("the two methods have no measurement in common")
    means = list(sets.values())
    of_seeds, of_photos, freedom = np.array(parts).T
    variance = float((of_seeds + of_photos).sum())
    with np.errstate(divide="ignore", invalid="ignore"):  # no variance, or that of a single seed
        freedom = variance**2 / (of_seeds**2 / freedom).sum()
    mean, error = float(np.mean(means)), variance**0.5 / len(means)
    at_large = stats.ttest_1samp(means, 0).pvalue if np.ptp(means) else np.nan
    return Difference(
        sets,
        mean,
        half=float(stats.t.ppf(0.975, freedom) * error),
        p=float(2 * stats.t.sf(abs(mean) / error, freedom)) if error else float(not mean),
        p_at_large=float(at_large),
    )


def mean_and_variances(trainings: list[dict[str, float]]) -> tuple[float, float, float]:
    """Return the mean over the trainings of one set, and its variance by seeds and by photos.

    Args:
        trainings: By photo, the difference. With a single one the variance is unknown.
    """
    means = [float(np.mean(list(training.values()))) for training in trainings]
    if len(means) < 2:
        return means[0], np.nan, np.nan
    shared = []
    for one, other in combinations(trainings, 2):
        common = sorted(one.keys() & other.keys())
        values = [[training[photo] for photo in common] for training in (one, other)]
        covariance = np.cov(values)[0, 1] if len(common) > 1 else 0.0
        shared.append(covariance * len(common) / (len(one) * len(other)))
    of_seeds = np.var(means, ddof=1) / len(means)
    return float(np.mean(means)), float(of_seeds), max(0.0, float(np.mean(shared)))
