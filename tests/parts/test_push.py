"""The push: against a float64 search, and the same bits whatever the order and the batches, ties included."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.parts import push
from partrep.parts.prototypes import Prototypes
from partrep.parts.queries import class_tied

RNG = np.random.default_rng(0)
COUNT, WIDTH, CLASSES = 13, 11, np.asarray(class_tied(4, 2))  # no image is of the last class
LABELS = np.arange(COUNT, dtype=np.int32) % 3
IDS = RNG.permutation(100)[:COUNT].astype(np.int32)
FEATURES = RNG.uniform(size=(COUNT, 3, 4, WIDTH)).astype(np.float32)
PROTOTYPES = RNG.uniform(size=(8, WIDTH)).astype(np.float32)
PROTOTYPES[[1, 5]] = 0.5
TIED = np.round(FEATURES[np.arange(COUNT) // 2 % 3])  # three images, and 1 and 5 are as far from every patch
ORDERS = [(np.arange(COUNT), 13), (np.argsort(IDS), 1), (np.arange(COUNT)[::-1], 5), (RNG.permutation(COUNT), 5)]
UPDATE, NEIGHBOURS = jax.jit(push.update), jax.jit(push.update_neighbours)


def batches(features, order, size):
    """The images in that order; the last batch is padded with images that would win, and must not count."""
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        pad = size - len(rows)
        z = np.concatenate([features[rows], np.broadcast_to(PROTOTYPES[0], (pad, *features.shape[1:]))])
        labels, ids = (np.pad(x[rows], (0, pad)) for x in (LABELS, IDS))
        yield z, labels, ids, np.arange(size) < len(rows)


def pushed(features, order, size):
    nearest = push.start(8, WIDTH)
    for z, labels, ids, valid in batches(features, order, size):
        nearest = UPDATE(nearest, z, PROTOTYPES, CLASSES, labels, ids, valid)
    return nearest


def neighbours(features, order, size, count=6):
    found = push.start_neighbours(8, count)
    for z, labels, ids, valid in batches(features, order, size):
        found = NEIGHBOURS(found, z, PROTOTYPES, labels, ids, valid)
    return found


def patches(features):
    """For each prototype all (distance, id, y, x, label), sorted by distance, id and place, in float64."""
    z, p = features.astype(np.float64), PROTOTYPES.astype(np.float64)
    d = ((z[:, None] - p[:, None, None]) ** 2).sum(-1)
    return [sorted((d[b, q, y, x], IDS[b], y, x, LABELS[b]) for b, y, x in np.ndindex(COUNT, 3, 4)) for q in range(8)]


@pytest.mark.parametrize("features", [FEATURES, TIED], ids=["apart", "tied"])
def test_against_a_search(features):
    nearest = pushed(features, np.arange(COUNT), 5)
    for p, rows in enumerate(patches(features)[:6]):
        distance, image, y, x, _ = next(row for row in rows if row[-1] == CLASSES[p])
        assert (int(nearest.image[p]), *nearest.place[p].tolist()) == (image, y, x)
        assert float(nearest.distance[p]) == pytest.approx(distance, rel=1e-5)
        np.testing.assert_array_equal(nearest.vector[p], features[IDS == image][0, y, x])


@pytest.mark.parametrize("features", [FEATURES, TIED], ids=["apart", "tied"])
def test_order_and_batches_change_no_bit(features):
    for run in (pushed, neighbours):
        first, *others = (run(features, *order) for order in ORDERS)
        for other in others:
            jax.tree.map(np.testing.assert_array_equal, first, other)


def test_ties_are_frequent_enough_to_be_tested():
    rows = patches(TIED)
    assert len({row[0] for row in rows[1]}) == 1  # every patch of every image
    assert all(sum(row[0] == ranked[0][0] for row in ranked) > 1 for ranked in rows[:6])


def test_equal_vectors_have_equal_distances_wherever_they_are():
    vector, prototypes = RNG.normal(size=37).astype(np.float32), RNG.normal(size=(5, 37)).astype(np.float32)
    run, seen = jax.jit(push.squared_distances), set()
    for shape in ((1, 1, 1), (1, 7, 9), (8, 3, 5)):
        found = np.asarray(run(np.broadcast_to(vector, (*shape, 37)), prototypes))
        seen |= {(p, float(d)) for p in range(5) for d in found[:, p].ravel()}
    assert len(seen) == 5
    own = run(np.broadcast_to(prototypes[:1], (1, 1, 1, 37)), prototypes)
    assert float(own[0, 0, 0, 0]) == 0.0


def test_the_smaller_id_wins_and_then_the_first_place():
    def at(distance, image, y, x):
        values = jnp.array([distance]), jnp.array([image]), jnp.array([[y, x]]), jnp.full((1, 2), 10.0 * y + x)
        return push.Nearest(*values)

    nearer = jax.jit(push.nearer)
    ranked = [at(1.0, 9, 5, 5), at(2.0, 3, 0, 1), at(2.0, 3, 1, 0), at(2.0, 4, 0, 0), push.start(1, 2)]
    for better, worse in itertools.pairwise(ranked):
        for found in (nearer(better, worse), nearer(worse, better)):
            jax.tree.map(np.testing.assert_array_equal, found, better)


def test_a_class_without_images_keeps_its_prototypes_and_says_so():
    prototypes, provenance = push.finish(pushed(FEATURES, np.arange(COUNT), 13), PROTOTYPES)
    np.testing.assert_array_equal(prototypes[6:], PROTOTYPES[6:])
    assert all((x[6:] == -1).all() and (x[:6] >= 0).all() and np.isfinite(x).all() for x in provenance.values())
    assert {name: x.dtype.name for name, x in provenance.items()} == {
        "image": "int32",
        "place": "int32",
        "distance": "float32",
    }


def test_neighbours_against_a_search():
    found = neighbours(FEATURES, np.arange(COUNT), 5)
    share = push.own_class_share(found, CLASSES)
    for p, rows in enumerate(patches(FEATURES)):
        best = {}
        for row in rows:
            best.setdefault(row[1], row)
        best = sorted(best.values())[:6]
        np.testing.assert_allclose(found.distance[p], [row[0] for row in best], rtol=1e-5)
        np.testing.assert_array_equal(found.image[p], [row[1] for row in best])
        assert float(share[p]) == pytest.approx(sum(row[4] == CLASSES[p] for row in best) / 6)
    assert not share[6:].any() and share[:6].any()


def test_three_of_six_is_a_half_and_images_that_are_missing_are_of_no_class():
    labels = jnp.array([[0, 0, 0, 1, 1, 1], [1, 1, 0, 0, 0, 0]])
    share = push.own_class_share(push.start_neighbours(2).replace(label=labels), jnp.array([0, 1]))
    assert (share >= 0.5).tolist() == [True, False]
    few = neighbours(FEATURES, np.array([0, 3]), 5)  # both of class 0
    np.testing.assert_array_equal(few.label, [[0, 0, -1, -1, -1, -1]] * 8)
    np.testing.assert_allclose(push.own_class_share(few, CLASSES), [1 / 3] * 2 + [0] * 6, rtol=1e-6)


@pytest.mark.parametrize("similarity, most, apart", [("distance", 9.210, 0.05), ("cosine", 1.0, 1e-6)])
def test_pushed_prototypes_are_found_where_they_came_from(similarity, most, apart):
    """Through the method: the image of origin then scores log(1/e), or a cosine of 1, at the place of origin."""
    model = Prototypes(classes=4, per_class=2, width=WIDTH, similarity=similarity)
    raw = RNG.normal(size=(6, 3, 4, 8)).astype(np.float32)

    def draw(path, leaf):  # initialisers take long to compile
        return (
            np.ones(leaf.shape, leaf.dtype)
            if "kept" in str(path)
            else RNG.uniform(-0.5, 0.5, leaf.shape).astype(leaf.dtype)
        )

    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), raw, train=False))
    variables = jax.tree_util.tree_map_with_path(draw, shapes)

    @jax.jit
    def run(variables, raw):
        z = model.apply(variables, raw, method="project")
        nearest = push.start(8, WIDTH)
        old = variables["params"]["prototypes"]
        nearest = push.update(nearest, z, old, CLASSES, jnp.arange(6) % 4, jnp.arange(6), jnp.ones(6, bool))
        prototypes, provenance = push.finish(nearest, old)
        params = {**variables["params"], "prototypes": prototypes}
        after = model.apply({**variables, "params": params, "provenance": provenance}, raw, train=False)
        return provenance, after, model.apply(variables, raw, train=False)

    provenance, parts, before = run(variables, raw)
    own = np.where((np.arange(6) % 4)[:, None] == CLASSES, np.asarray(before.similarity).max((2, 3)), -np.inf)
    assert provenance["image"].tolist() == own.argmax(0).tolist()  # the most similar patch by either similarity
    for p, (image, (y, x)) in enumerate(zip(provenance["image"].tolist(), provenance["place"].tolist())):
        assert image % 4 == CLASSES[p]
        assert float(parts.scores[image, p]) == pytest.approx(most, abs=apart)
        assert float(parts.assignment[image, p, y, x]) == 1.0


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"update: labels has shape \(2,\); expected \[B\] with B=13"):
        push.update(push.start(8, WIDTH), FEATURES, PROTOTYPES, CLASSES, LABELS[:2], IDS, np.ones(COUNT, bool))
    with pytest.raises(ValueError, match="squared_distances: prototypes has shape"):
        push.squared_distances(FEATURES, PROTOTYPES[:, :3])
    with pytest.raises(UserError, match="count is 0; expected at least 1"):
        push.start_neighbours(8, 0)
