"""The Vinyals split of Omniglot: characters of all alphabets mixed, quarter turns as classes of their own."""

from __future__ import annotations

import numpy as np

from partrep import UserError

CHARACTERS, VALIDATION, TEST = 1623, 172, 423


def vinyals_split(characters: int = CHARACTERS, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Characters for training, validation and test, disjoint and drawn by seed; of fewer, the same shares.

    The published split is one fixed order of the 1,623 characters, which is not among the official files: this
    is a seeded split with its sizes, 1,200 and 423, over background and evaluation alphabets together; 172 of
    the 1,200 validate, as in the code of prototypical networks.

    >>> [len(part) for part in vinyals_split()]
    [1028, 172, 423]

    Raises:
        UserError: so few characters that a part is empty.
    """
    test, validation = (round(characters * part / CHARACTERS) for part in (TEST, VALIDATION))
    if min(test, validation) < 1:
        raise UserError(f"found {characters} characters; expected enough for training, validation and test")
    order = np.random.default_rng(seed).permutation(characters)
    parts = np.split(order, [characters - test - validation, characters - test])
    return np.sort(parts[0]), np.sort(parts[1]), np.sort(parts[2])
