"""What is drawn: the pairs that met and how much they counted."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
import pytest

from partrep import UserError
from partrep.models.heads import FEWSHOT_HEADS
from partrep.models.heads.match import matches


@pytest.mark.parametrize("head", ["aligned", "mutual"])
def test_amounts_sum_to_the_logits_and_pairs_are_the_best(head, episode, oracle):
    support, query, mask = episode
    out = jax.jit(partial(matches, head))(support, query, mask)
    np.testing.assert_allclose(
        np.asarray(out.amount).sum(-1),
        jax.jit(FEWSHOT_HEADS[head])(support, query, mask),
        rtol=1e-4,
        atol=1e-4,
    )
    for q in range(5):
        for k in np.flatnonzero(query.weights[q] > 0):
            for c in range(3):
                best, where = -2.0, None
                for i in np.flatnonzero(mask[c]):
                    for j in np.flatnonzero(support.weights[c, i] > 0):
                        cosine = oracle.unit(query.vectors[q, k]) @ oracle.unit(support.vectors[c, i, j])
                        if (head == "mutual" or j == k) and cosine > best:
                            best, where = cosine, (i, j)
                assert (int(out.shot[q, c, k]), int(out.vector[q, c, k])) == where
                assert float(out.similarity[q, c, k]) == pytest.approx(float(best), abs=1e-5)


def test_settings_reach_the_head(episode):
    settings = {"geometry": 50.0, "scale": 1.0}
    far = jax.jit(partial(matches, "mutual", **settings))(*episode)
    np.testing.assert_allclose(
        np.asarray(far.amount).sum(-1),
        jax.jit(partial(FEWSHOT_HEADS["mutual"], **settings))(*episode),
        rtol=1e-4,
        atol=1e-4,
    )


def test_a_head_without_pairs(episode):
    with pytest.raises(UserError, match="known: aligned, mutual"):
        matches("prototypes", *episode)
