"""What searches the descriptors of an index: the exact search of this package, or FAISS where it is installed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from partrep import UserError
from partrep.search.exact import Exact

Searcher = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
"""(queries [Q,D], k) -> dot products f32 [Q,k], the largest first, and ids i64 [Q,k]; -1 behind the last row."""


def exact(descriptors) -> Searcher:
    """Searches descriptors [N,D] by dot products with `Exact`."""
    return Exact.build(descriptors, "dot").search


def faiss(descriptors) -> Searcher:
    """Searches descriptors [N,D] by dot products with a flat index of FAISS.

    Raises:
        UserError: FAISS is not installed.
    """
    try:
        import faiss as library
    except ImportError:
        wanted = "expected it (pip install 'partrep[faiss]') or the engine exact"
        raise UserError(f"FAISS is not installed; {wanted}") from None
    found = library.IndexFlatIP(descriptors.shape[1])
    found.add(np.ascontiguousarray(descriptors[0 : len(descriptors)], np.float32))
    return lambda queries, k: found.search(np.ascontiguousarray(queries, np.float32), k)


ENGINES: dict[str, Callable[..., Searcher]] = {"exact": exact, "faiss": faiss}
