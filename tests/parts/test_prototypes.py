"""Prototypes: log-ratio scores at the best location, distances got back from them, removal by mask."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.losses import cluster
from partrep.models.part_model import PartModel, build
from partrep.parts.prototypes import Prototypes, cosine_distance, log_ratio, nearest_distance
from partrep.parts.queries import class_tied

FEATURES = jax.nn.relu(jax.random.normal(jax.random.key(0), (2, 3, 4, 5)))
MODEL = Prototypes(classes=3, per_class=2, width=8)
VARIABLES, PROJECTED = jax.jit(
    lambda k: (MODEL.init(k, FEATURES, train=False), MODEL.init_with_output(k, FEATURES, method="project")[0])
)(jax.random.key(1))
APPLY = jax.jit(lambda v, z: MODEL.apply(v, z, train=False))
KEY = jax.random.key(0)
PARTS = APPLY(VARIABLES, FEATURES)


def standardise(image):
    """As a part model shows images to its backbone."""
    return (image - 0.5) / 0.25


def with_prototypes(prototypes):
    return {**VARIABLES, "params": {**VARIABLES["params"], "prototypes": prototypes}}


def oracle():
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), VARIABLES["params"])
    hidden = np.maximum(np.asarray(FEATURES, np.float64) @ p["hidden"]["kernel"] + p["hidden"]["bias"], 0)
    z = 1 / (1 + np.exp(-(hidden @ p["output"]["kernel"] + p["output"]["bias"])))
    distance = ((z[:, None] - p["prototypes"][None, :, None, None]) ** 2).sum(-1)
    return z, distance


def test_against_oracle():
    z, distance = oracle()
    similarity = np.log((distance + 1) / (distance + 1e-4))
    np.testing.assert_allclose(PROJECTED, z, rtol=1e-5)
    np.testing.assert_allclose(PARTS.similarity, similarity, rtol=1e-4)
    np.testing.assert_allclose(PARTS.scores, similarity.max((2, 3)), rtol=1e-4)
    np.testing.assert_allclose(PARTS.presence, similarity.max((2, 3)) / np.log(1e4), rtol=1e-4)
    np.testing.assert_allclose(nearest_distance(PARTS.similarity), distance.min((2, 3)), rtol=1e-4)
    best = np.unravel_index(distance.reshape(2, 6, -1).argmin(-1), (3, 4))
    centres = np.stack([(best[0] + 0.5) / 3, (best[1] + 0.5) / 4], axis=-1)
    np.testing.assert_allclose(PARTS.centroid, centres, atol=1e-6)
    assert PARTS.background is None and PARTS.vectors is None


def test_all_evidence_lies_at_the_one_assigned_location():
    assert set(np.unique(PARTS.assignment)) == {0.0, 1.0}
    np.testing.assert_array_equal(PARTS.assignment.sum((2, 3)), 1.0)
    np.testing.assert_allclose((PARTS.assignment * PARTS.similarity).sum((2, 3)), PARTS.scores, rtol=1e-6)
    gradient = jax.jit(jax.grad(lambda z: APPLY(VARIABLES, z).scores[:, 4].sum()))(FEATURES)
    np.testing.assert_array_equal(np.abs(gradient).max(-1) > 0, PARTS.assignment[:, 4] > 0)


def test_of_equal_locations_the_first_is_assigned():
    same = jnp.broadcast_to(FEATURES[:1, :1, :1], FEATURES.shape)
    assignment = APPLY(VARIABLES, same).assignment
    np.testing.assert_array_equal(assignment[..., 0, 0], 1.0)


def test_a_patch_on_its_prototype_has_the_largest_score_and_presence_one():
    assert float(log_ratio(jnp.float32(0.0))) == pytest.approx(9.210, abs=1e-3)
    prototypes = VARIABLES["params"]["prototypes"].at[3].set(PROJECTED[1, 2, 0])
    parts = APPLY(with_prototypes(prototypes), FEATURES)
    assert float(parts.scores[1, 3]) == pytest.approx(9.210, abs=0.05)
    assert float(parts.presence[1, 3]) == pytest.approx(1.0, abs=0.01) and float(parts.presence.max()) <= 1.0
    assert float(parts.assignment[1, 3, 2, 0]) == 1.0


def test_distances_come_back_from_scores_with_their_gradient():
    distances = jnp.array([0.0, 1e-6, 1e-4, 0.01, 0.5, 3.0, 40.0, 1000.0])

    def back(d):
        return nearest_distance(log_ratio(d)[:, None, None, None])[:, 0]

    value, gradient = jax.jit(lambda d: (back(d), jax.grad(lambda x: back(x).sum())(d)))(distances)
    np.testing.assert_allclose(value, distances, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(gradient[1:], 1.0, rtol=1e-4)
    assert np.isfinite(gradient).all()


def test_the_cluster_loss_of_the_scores_is_the_one_of_the_distances():
    """Value, and gradient by central differences of the float64 distances along the prototypes."""
    labels = jnp.array([2, 0])

    def loss(prototypes):
        parts = APPLY(with_prototypes(prototypes), FEATURES)
        return cluster(nearest_distance(parts.similarity), class_tied(3, 2), labels).sum()

    value, gradient = jax.jit(jax.value_and_grad(loss))(VARIABLES["params"]["prototypes"])
    z, distance = oracle()
    least = distance.min((2, 3))
    assert float(value) == pytest.approx(least[0, 4:].min() + least[1, :2].min(), rel=1e-4)
    expected = np.zeros((6, 8))
    for image, own in ((0, (4, 5)), (1, (0, 1))):
        p = min(own, key=lambda q: least[image, q])
        place = np.unravel_index(distance[image, p].argmin(), (3, 4))
        expected[p] += 2 * (np.asarray(VARIABLES["params"]["prototypes"], np.float64)[p] - z[image][place])
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-5)


BY_COSINE = Prototypes(classes=3, per_class=2, width=8, similarity="cosine")
COSINE = jax.jit(lambda v, z: (BY_COSINE.apply(v, z, train=False), BY_COSINE.apply(v, z, method="project")))


def test_cosines_against_oracle():
    """Whatever the lengths of the prototypes."""
    lengths = np.array([0.5, 1, 2, 3, 4, 5], np.float32)[:, None]
    directions = np.random.default_rng(3).normal(size=(6, 8)).astype(np.float32)
    variables = with_prototypes(lengths * directions)
    parts, projected = COSINE(variables, FEATURES)
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), variables["params"])
    hidden = np.maximum(np.asarray(FEATURES, np.float64) @ p["hidden"]["kernel"] + p["hidden"]["bias"], 0)
    z = 1 / (1 + np.exp(-(hidden @ p["output"]["kernel"] + p["output"]["bias"])))
    z, q = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (z, directions.astype(np.float64)))
    cosines = np.einsum("bhwd,pd->bphw", z, q)
    np.testing.assert_allclose(projected, z, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(parts.similarity, cosines, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(parts.scores, cosines.max((2, 3)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(parts.presence, np.maximum(cosines.max((2, 3)), 0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(cosine_distance(parts.similarity), 1 - cosines.max((2, 3)), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(parts.assignment.reshape(2, 6, -1).argmax(-1), cosines.reshape(2, 6, -1).argmax(-1))
    assert cosines.min() < 0 < cosines.max() and parts.presence.min() == 0  # signs differ


def test_prototypes_by_cosine_start_at_length_one():
    shapes = jax.eval_shape(lambda: BY_COSINE.init(KEY, FEATURES, train=False))
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, VARIABLES)
    np.testing.assert_allclose(jnp.linalg.norm(BY_COSINE.compared.start(KEY, (6, 8)), axis=1), 1, rtol=1e-5)
    with pytest.raises(UserError, match="unknown similarity of prototypes 'dot'; known: cosine, distance"):
        Prototypes(classes=2, similarity="dot").init(KEY, FEATURES, train=False)


def test_permuting_prototypes_permutes_every_field():
    order = jnp.array([2, 0, 1, 5, 4, 3])
    after = APPLY(with_prototypes(VARIABLES["params"]["prototypes"][order]), FEATURES)
    for name in ("similarity", "assignment", "scores", "presence", "centroid"):
        np.testing.assert_allclose(getattr(after, name), getattr(PARTS, name)[:, order], rtol=1e-4, atol=1e-6)


def test_a_removed_prototype_scores_nothing_and_the_others_do_not_notice():
    kept = jnp.ones(6).at[2].set(0.0)
    whole, parts = (APPLY({**VARIABLES, "prune": {"kept": k}}, FEATURES) for k in (jnp.ones(6), 0.9999999 * kept))
    for name in ("scores", "presence", "assignment"):
        found, before = np.asarray(getattr(parts, name)), np.asarray(getattr(whole, name))
        assert not found[:, 2].any()
        np.testing.assert_array_equal(np.delete(found, 2, 1), np.delete(before, 2, 1))
    np.testing.assert_array_equal(parts.centroid[:, 2], 0.5)


def test_variables_that_are_no_parameters_are_finite_and_pass_through_training():
    state = {name: VARIABLES[name] for name in ("prune", "provenance")}
    assert jax.tree.map(lambda x: (x.shape, x.dtype.name), state) == {
        "prune": {"kept": ((6,), "float32")},
        "provenance": {"image": ((6,), "int32"), "place": ((6, 2), "int32"), "distance": ((6,), "float32")},
    }
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state))
    np.testing.assert_array_equal(VARIABLES["provenance"]["image"], -1)
    parts, new = jax.jit(lambda v: MODEL.apply(v, FEATURES, train=True, mutable=list(state)))(VARIABLES)
    jax.tree.map(np.testing.assert_array_equal, new, state)
    np.testing.assert_allclose(parts.scores, PARTS.scores, rtol=1e-6)


CONFIG = {
    "backbone": {"name": "patchnet", "widths": [4], "depths": [1], "strides": [1], "patch": 4},
    "method": {"name": "prototypes", "per_class": 2, "width": 8},
    "head": {"name": "class_tied"},
}


def test_the_part_model_gives_the_method_its_classes():
    assert build(CONFIG, classes=3).method.classes == 3
    other = {**CONFIG, "method": {**CONFIG["method"], "classes": 5}}
    assert build(other, classes=3).method.classes == 5
    with pytest.raises(UserError, match="the part method 'prototypes' needs a number of classes"):
        build({**CONFIG, "head": None})


class Plain(nn.Module):
    """A backbone that does nothing."""

    def __call__(self, image, train):
        return image


def test_inside_the_part_model_logits_add_up_and_features_can_be_projected():
    built = build(CONFIG, classes=3)
    model = PartModel(Plain(), built.method, built.bottleneck, built.head)

    def project(module: PartModel, image):
        return module.method.project(module.backbone(standardise(image), False))

    method = {collection: {"method": tree} for collection, tree in VARIABLES.items()}
    kernel = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    variables = {**method, "params": {**method["params"], "head": {"kernel": kernel}}}

    @jax.jit
    def run(image):
        out = model.apply(variables, image, False)
        share = model.apply(variables, out.codes, out.parts.presence, method=lambda m, *a: m.head.contributions(*a))
        return out, share, model.apply(variables, image, method=project)

    out, share, projected = run(standardise(FEATURES))
    np.testing.assert_allclose(share.sum(1), out.logits, rtol=1e-4, atol=1e-4)
    distance = ((projected[:, None] - variables["params"]["method"]["prototypes"][:, None, None]) ** 2).sum(-1)
    np.testing.assert_allclose(nearest_distance(out.parts.similarity), distance.min((2, 3)), rtol=1e-4)


def test_bfloat16_features_give_float32_and_finite_gradients_even_for_empty_features():
    low = FEATURES.astype(jnp.bfloat16).at[0].set(0.0)

    def total(params, z):
        parts = APPLY({**VARIABLES, "params": params}, z)
        return parts.scores.sum(), parts

    grads, parts = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))(VARIABLES["params"], low)
    assert {x.dtype for x in jax.tree.leaves(parts)} == {jnp.dtype("float32")}
    assert all(np.isfinite(np.asarray(g, np.float32)).all() for g in jax.tree.leaves(grads))


def test_bad_input_is_named():
    with pytest.raises(UserError, match="classes is 0"):
        Prototypes(classes=0).init(KEY, FEATURES, train=False)
    with pytest.raises(UserError, match="width 0; expected at least 1"):
        Prototypes(classes=2, width=0).init(KEY, FEATURES, train=False)
    with pytest.raises(ValueError, match="Prototypes: features has shape"):
        MODEL.apply(VARIABLES, jnp.ones((2, 4, 5)), train=False)
