"""Part discovery without training, the baselines of learned parts: `(features, parts, seed) -> Finder`."""

from __future__ import annotations

from partrep.discovery.kmeans import kmeans
from partrep.discovery.maps import grid, random
from partrep.discovery.nmf import nmf

DISCOVERY = {"grid": grid, "kmeans": kmeans, "nmf": nmf, "random": random}
