"""Episode accuracy against a loop over episodes, pairing, coarser grids and the raw-pixel baseline."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from partrep import UserError
from partrep.data.episodes import EpisodeSampler
from partrep.evaluate import fewshot
from partrep.models.local import Local

CLASSES, EACH, WAYS, SHOTS, QUERIES = 6, 8, 3, 2, 4


class Sampler:
    """Episodes as the data layer draws them, a pure function of (seed, t)."""

    def __init__(self, seed: int = 0):
        self.seed = seed

    def __getitem__(self, t: int):
        generator = np.random.default_rng((self.seed, t))
        classes = generator.choice(CLASSES, WAYS, replace=False)
        index = np.stack([c * EACH + generator.permutation(EACH)[: SHOTS + QUERIES] for c in classes])
        mask = generator.random((WAYS, SHOTS)) < 0.7
        mask[:, 0] = True
        return SimpleNamespace(
            support=index[:, :SHOTS],
            query=index[:, SHOTS:].ravel(),
            query_label=np.repeat(np.arange(WAYS), QUERIES),
            support_mask=mask,
        )


def vectors(spread: float = 1.0, locations: int = 4, seed: int = 0) -> Local:
    generator = np.random.default_rng(seed)
    centres = np.repeat(generator.normal(size=(CLASSES, locations, 5)), EACH, axis=0)
    values = centres + spread * generator.normal(size=centres.shape)
    weights = generator.random((CLASSES * EACH, locations)).astype(np.float32)
    positions = generator.random((CLASSES * EACH, locations, 2)).astype(np.float32)
    return Local(jnp.asarray(values, jnp.float32), jnp.asarray(weights), jnp.asarray(positions))


def neighbour_oracle(local: Local, episode) -> float:
    values, hits = np.asarray(local.vectors, np.float64), 0
    for query, label in zip(episode.query, episode.query_label):
        nearest = [
            min(((values[query] - values[s]) ** 2).sum() for s, known in zip(row, mask) if known)
            for row, mask in zip(episode.support, episode.support_mask)
        ]
        hits += int(np.argmin(nearest) == label)
    return hits / len(episode.query)


@pytest.mark.parametrize("chunk", [None, 1, 7])
def test_accuracy_equals_a_loop_over_episodes_and_queries(chunk):
    local, sampler = vectors(), Sampler()
    scores = fewshot.episode_accuracy(
        local, fewshot.draw_episodes(sampler, 20), fewshot.nearest_neighbour, chunk
    )
    expected = [neighbour_oracle(local, sampler[t]) for t in range(20)]
    np.testing.assert_allclose(scores.accuracy, expected, atol=1e-7)
    assert scores.accuracy.dtype == np.float64 and scores.interval.mean == pytest.approx(np.mean(expected))
    assert scores.interval.half == pytest.approx(1.96 * np.std(expected, ddof=1) / np.sqrt(20))


def test_compact_episodes_name_the_same_images():
    rng = np.random.default_rng(0)
    images = rng.permutation(1000)[:30].astype(np.int32).reshape(3, 10)
    support, query = images[:, :6].reshape(3, 3, 2), images[:, 6:]
    labels = np.zeros((3, 4), np.int32)
    used, (episodes,) = fewshot.compact(fewshot.Episodes(support, query, labels, np.ones((3, 3, 2), bool)))
    assert len(used) == 30 and episodes.support.dtype == np.int32
    np.testing.assert_array_equal(used[episodes.support], support)
    np.testing.assert_array_equal(used[episodes.query], query)
    assert episodes.query_label is labels


def test_head_meets_weights_positions_and_mask():
    local, episodes = vectors(), fewshot.draw_episodes(Sampler(), 3)

    def head(support, query, support_mask):
        assert support.weights.shape == (WAYS, SHOTS, 4) and query.positions.shape == (WAYS * QUERIES, 4, 2)
        assert support_mask.shape == (WAYS, SHOTS)
        mean = (support.vectors * support_mask[..., None, None]).sum(axis=1) / support_mask.sum(1)[
            :, None, None
        ]
        return -((query.vectors[:, None] - mean[None]) ** 2).sum(axis=(-1, -2))

    assert fewshot.episode_accuracy(vectors(spread=0.0), episodes, head).accuracy.min() == 1.0
    assert fewshot.episode_accuracy(local, episodes, head).accuracy.max() <= 1.0


def test_learned_heads_do_not_compile_again():
    traces = []

    def scaled(parameters, support, query, support_mask):
        traces.append(1)
        return parameters * fewshot.nearest_neighbour(support, query, support_mask)

    local, episodes = vectors(), fewshot.draw_episodes(Sampler(), 4)
    first = fewshot.episode_accuracy(local, episodes, Partial(scaled, jnp.float32(1.0)))
    count = len(traces)
    second = fewshot.episode_accuracy(local, episodes, Partial(scaled, jnp.float32(2.0)))
    assert len(traces) == count and (first.accuracy == second.accuracy).all()


def test_queries_are_judged_alone():
    """Half of the queries of each episode, the same predictions for them."""
    local, full = vectors(), fewshot.draw_episodes(Sampler(), 6)
    kept = full._replace(query=full.query[:, ::2], query_label=full.query_label[:, ::2])
    dropped = full._replace(query=full.query[:, 1::2], query_label=full.query_label[:, 1::2])
    parts = [fewshot.episode_accuracy(local, e, fewshot.nearest_neighbour).accuracy for e in (kept, dropped)]
    whole = fewshot.episode_accuracy(local, full, fewshot.nearest_neighbour).accuracy
    np.testing.assert_allclose(whole, np.mean(parts, axis=0), atol=1e-7)


def test_not_a_number_is_said_with_its_episode():
    local = vectors()
    episodes = fewshot.draw_episodes(Sampler(), 5)
    bad = int(episodes.query[0, 0])
    broken = local.replace(vectors=local.vectors.at[bad].set(jnp.nan))
    with pytest.raises(FloatingPointError, match="episode 0"):
        fewshot.episode_accuracy(broken, episodes, fewshot.nearest_neighbour)


def test_refuses_images_that_are_not_there():
    local, episodes = vectors(), fewshot.draw_episodes(Sampler(), 5)
    short = jax.tree.map(lambda x: x[:10], local)
    with pytest.raises(UserError, match="of 10"):
        fewshot.episode_accuracy(short, episodes, fewshot.nearest_neighbour)
    with pytest.raises(UserError, match="at least 2 episodes"):
        fewshot.draw_episodes(Sampler(), 1)


def test_episodes_are_a_function_of_the_sampler_and_of_the_start():
    one, two = fewshot.draw_episodes(Sampler(), 6), fewshot.draw_episodes(Sampler(), 6)
    assert one.fingerprint == two.fingerprint != fewshot.draw_episodes(Sampler(1), 6).fingerprint
    later = fewshot.draw_episodes(Sampler(), 3, start=3)
    assert (later.query == one.query[3:]).all() and later.support.dtype == np.int32


def test_paired_difference_refuses_other_episodes():
    local = vectors()
    scores = [
        fewshot.episode_accuracy(local, fewshot.draw_episodes(Sampler(s), 6), fewshot.nearest_neighbour)
        for s in (0, 1)
    ]
    assert fewshot.paired_difference(scores[:1], scores[:1]) == (0.0, 0.0, 0.0)
    assert fewshot.paired_difference([scores[0]] * 3, scores[:1]) == (0.0, 0.0, 0.0)
    with pytest.raises(UserError, match="same episodes"):
        fewshot.paired_difference(scores[:1], scores[1:])


def test_episodes_of_the_data_layer():
    sampler = EpisodeSampler(np.repeat(np.arange(CLASSES), EACH), WAYS, SHOTS, QUERIES, seed=0)
    episodes = fewshot.draw_episodes(sampler, 5)
    assert episodes.support.shape == (5, WAYS, SHOTS) and (episodes.query[2] == sampler[2].query).all()
    assert (fewshot.episode_accuracy(vectors(0.0), episodes, fewshot.nearest_neighbour).accuracy == 1.0).all()


def test_coarsen_is_the_weighted_mean_of_blocks():
    local = vectors(locations=16)
    coarse = fewshot.coarsen(local, 4)
    blocks = [0, 1, 4, 5]
    weights = np.asarray(local.weights)[:, blocks]
    expected = (np.asarray(local.vectors)[:, blocks] * weights[..., None]).sum(1) / weights.sum(1)[:, None]
    np.testing.assert_allclose(coarse.vectors[:, 0], expected, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(coarse.weights[:, 0], weights.mean(1), rtol=1e-6)
    np.testing.assert_allclose(
        coarse.positions[:, 0], np.asarray(local.positions)[:, blocks].mean(1), rtol=1e-6
    )
    assert coarse.weights.shape == (CLASSES * EACH, 4)


def test_coarsen_leaves_small_grids_and_survives_empty_blocks():
    local = vectors(locations=16)
    assert fewshot.coarsen(local, 16) is local
    empty = local.replace(weights=jnp.zeros_like(local.weights))
    assert np.isfinite(fewshot.coarsen(empty, 1).vectors).all()
    with pytest.raises(UserError, match="square"):
        fewshot.coarsen(vectors(locations=8), 4)
    with pytest.raises(UserError, match="3x3"):
        fewshot.coarsen(vectors(locations=9), 4)


def test_pixel_neighbours_ignore_brightness_and_contrast():
    images = np.random.default_rng(0).random((4, 8, 8, 3), dtype=np.float32)
    local = fewshot.pixel_local(np.concatenate([images, 0.5 * images + 0.2]), side=4)
    assert local.vectors.shape == (8, 1, 48)
    np.testing.assert_allclose(local.vectors[:4], local.vectors[4:], atol=1e-5)
    np.testing.assert_allclose(jnp.linalg.norm(local.vectors[:, 0], axis=1), 1.0, rtol=1e-5)
    plain = fewshot.pixel_local(images, normalise=False)
    np.testing.assert_array_equal(plain.vectors[:, 0], images.reshape(4, -1))
