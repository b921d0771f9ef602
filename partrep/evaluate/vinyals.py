"""The Vinyals split of Omniglot: characters of all alphabets mixed, quarter turns as classes of their own."""

from __future__ import annotations

import numpy as np

from partrep import UserError

CHARACTERS, TRAINING = 1623, 1200


def vinyals_split(
    characters: int = CHARACTERS, training: int = TRAINING, seed: int = 0
) -> tuple[np.ndarray, ...]:
    """Characters for training and for test, `(int [training], int [characters - training])`, drawn by seed.

    The published split is one fixed order of the 1,623 characters, which is not among the official files:
    this is a seeded split with the protocol's sizes, 1,200 and 423, over background and evaluation alphabets
    together.
    """
    if not 0 < training < characters:
        raise UserError(f"found {training} training characters of {characters}; expected some on both sides")
    order = np.random.default_rng(seed).permutation(characters)
    return np.sort(order[:training]), np.sort(order[training:])


def quarter_turns(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Four classes of each: images [n,H,H,C] by 0, 90, 180, 270 degrees, labels `c, c + C, c + 2C, c + 3C`.

    An `EpisodeSampler` over the labels gives the protocol's episodes: between alphabets, 5 or 20 ways, 1 or 5
    shots.
    """
    classes = int(labels.max()) + 1
    turned = np.concatenate([np.rot90(images, turn, axes=(1, 2)) for turn in range(4)])
    return turned, np.concatenate([labels + turn * classes for turn in range(4)])
