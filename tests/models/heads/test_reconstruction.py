"""FRN and CTX against loops in float64."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
import pytest

from partrep import UserError
from partrep.models.heads.reconstruction import ctx, frn, init_ctx, init_frn


def frn_oracle(sets, queries, width, alpha, beta, gamma):
    """Ridge regression as a least-squares problem on stacked rows, with no closed form of the library's."""
    out = np.zeros((len(queries), len(sets)))
    for q, (vectors, weights, _) in enumerate(queries):
        for c, (rows, mass, _) in enumerate(sets):
            s = rows * np.sqrt(mass)[:, None] / np.sqrt(width)
            ridge = mass.sum() / width * np.exp(alpha)
            system = np.vstack([s.T, np.sqrt(ridge) * np.eye(len(s))])
            for v, w in zip(vectors / np.sqrt(width), weights):
                coefficients = np.linalg.lstsq(system, np.concatenate([v, np.zeros(len(s))]), rcond=None)[0]
                error = ((v - np.exp(beta) * coefficients @ s) ** 2).sum()
                out[q, c] -= gamma * w / weights.sum() * error
    return out


@pytest.mark.parametrize("form", ["primal", "dual", "auto"])
def test_frn(episode, oracle, form):
    support, query, mask = episode
    params = {"alpha": np.float32(0.3), "beta": np.float32(-0.2), "log_scale": np.float32(np.log(3.0))}
    expected = frn_oracle(oracle.class_sets(support, mask), oracle.query_sets(query), 6, 0.3, -0.2, 6.0)
    out = jax.jit(lambda s, q, m: frn(s, q, m, params, scale=2.0, form=form))(support, query, mask)
    np.testing.assert_allclose(out, expected, rtol=2e-5)


def test_frn_without_parameters_is_frn_at_its_start(episode):
    start = init_frn(jax.random.key(0), 6)
    np.testing.assert_allclose(jax.jit(frn)(*episode), jax.jit(frn)(*episode, start), rtol=1e-6)


def test_frn_of_vectors_in_the_span_is_nearly_perfect(one):
    rng = np.random.default_rng(0)
    basis = 100 * rng.normal(size=(2, 1, 3, 8))
    inside = np.einsum("ij,jd->id", rng.normal(size=(4, 3)), basis[0, 0]) / 100
    out = np.asarray(jax.jit(frn)(one(basis), one(inside[None]), np.ones((2, 1), bool)))
    assert out[0, 0] > -1e-3 and out[0, 1] < -0.1


def test_frn_unknown_form(episode):
    with pytest.raises(UserError, match="'primal'"):
        frn(*episode, form="both")


def ctx_oracle(sets, queries, key, value, asked, scale):
    out = np.zeros((len(queries), len(sets)))
    for q, (vectors, weights, _) in enumerate(queries):
        for c, (rows, mass, _) in enumerate(sets):
            for v, w in zip(vectors, weights):
                score = np.array([(v @ asked) @ (s @ key) / np.sqrt(key.shape[1]) for s in rows])
                attention = mass * np.exp(score - score.max())
                attention /= attention.sum()
                rebuilt = sum(a * (s @ value) for a, s in zip(attention, rows))
                out[q, c] -= scale * w / weights.sum() * ((v @ value - rebuilt) ** 2).sum()
    return out


def test_ctx(episode, oracle):
    support, query, mask = episode
    params = init_ctx(jax.random.key(3), 6, 5)
    wide = {k: np.asarray(v, np.float64) for k, v in params.items()}
    expected = ctx_oracle(
        oracle.class_sets(support, mask),
        oracle.query_sets(query),
        wide["key"],
        wide["value"],
        wide["query"],
        2.0,
    )
    out = jax.jit(partial(ctx, scale=2.0))(*episode, params)
    np.testing.assert_allclose(out, expected, rtol=1e-5)


def test_ctx_without_parameters_projects_nothing(episode, oracle):
    support, query, mask = episode
    eye = np.eye(6)
    expected = ctx_oracle(oracle.class_sets(support, mask), oracle.query_sets(query), eye, eye, eye, 1.0)
    np.testing.assert_allclose(jax.jit(ctx)(*episode), expected, rtol=1e-5)
