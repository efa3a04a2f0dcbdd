"""A map of the held-out photos: those that the model sees alike lie side by side."""

import json

import numpy as np
from threadpoolctl import threadpool_limits

from tlearn.reports.contents import Contents
from tlearn.reports.markup import paragraph, text
from tlearn.runs.class_figures import class_order
from tlearn.runs.quality_charts import PALETTE, photo_map
from tlearn.text import decode_name, printable

MOST = 1000  # photos on the map
LEAST = 4  # below, there is no map
STEPS = 500  # of t-SNE: two seconds for as many photos


def principal_places(features: np.ndarray) -> np.ndarray:
    """Return where photos lie along the two directions of greatest variance, ``(n, 2)``.

    Args:
        features: ``(n, k)``, ``k`` at least 2.
    """
    centred = features - features.mean(axis=0)
    with threadpool_limits(1):  # more threads only wait for each other in so small a problem
        _, directions = np.linalg.eigh(centred.T @ centred)
    return np.asarray(centred @ directions[:, :-3:-1])


def neighbour_places(features: np.ndarray) -> np.ndarray:
    """Return places by t-SNE (van der Maaten and Hinton, 2008), seeded, ``(n, 2)``."""
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(features) - 1) / 3)
    method = TSNE(perplexity=perplexity, init="pca", random_state=0, max_iter=STEPS)
    with threadpool_limits(1):  # as above; and the same map on every machine
        return np.asarray(method.fit_transform(features))


def feature_map(contents: Contents) -> str:
    """Return the map; pointing at a photo shows it."""
    outputs = contents.outputs
    n = len(outputs.files)
    if n < LEAST:
        return paragraph(f"{n} photos make no map.")
    at = np.sort(np.random.default_rng(0).permutation(n)[:MOST])
    features = outputs.features[at, -1]
    alike = not np.ptp(features, axis=0).any()
    find = principal_places if alike or not contents.thorough else neighbour_places
    places = find(features)
    positions = {row.file: k for k, row in enumerate(contents.photos.rows)}
    photos = [positions[str(file)] for file in outputs.files[at]]
    shown = [contents.photos.rows[k] for k in photos]
    rows = [
        {
            "label": row.label,
            "right": row.correct,
            "name": f"{row.label}: {printable(decode_name(row.file))}",
        }
        for row in shown
    ]
    order = class_order(contents.figures) if len(contents.labels) > len(PALETTE) else None
    labels = [contents.labels[k] for k in order] if order else contents.labels
    how = (
        "The map is made by t-SNE: what is near is alike, what is far apart says little."
        if contents.thorough
        else "The map shows the two principal components, in which some that differ lie together; "
        "<code>tlearn report RUN</code> makes a finer one, by t-SNE."
    )
    sample = f" {MOST:,} of {n:,} photos, drawn by chance." if n > MOST else ""
    words = (
        f"Each dot is a {contents.split} photo as the last layer of the model sees it, coloured by "
        f"its class; a ring marks a mistake. Point at one to see it. A dot amid another colour may "
        f"have a wrong class.{sample} {how}"
    )
    figure = contents.draw("map", photo_map(places, rows, labels), "Photos by their features.")
    options = "".join(f"<option value={k}>{text(v)}" for k, v in enumerate(contents.labels))
    select = f"<select id=map-class><option value=''>all classes{options}</select>"
    choice = f"<p><label>Show {select}</label>"
    return f"{paragraph(words)}{choice}<div data-photos='{json.dumps(photos)}'>{figure}</div>"
