"""What parts and locations contributed, against the logit with features taken away; and which level a model has."""

from __future__ import annotations

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.explain.bound import explained
from partrep.explain.cam import hires_cam
from partrep.explain.contributions import (
    centred_contributions,
    level,
    location_contributions,
    part_contributions,
    spread_contributions,
)
from partrep.models.bottlenecks import BOTTLENECKS
from partrep.models.heads import HEADS
from partrep.models.outputs import PartOutputs
from partrep.models.part_model import PartModel, build
from partrep.parts import METHODS
from partrep.tasks.classify_evaluation import LEVELS

BACKBONE = {"name": "patchnet", "widths": [8], "depths": [0], "patch": 4, "strides": [1]}
LINEAR = [name for name, head in HEADS.items() if head.linear_in_codes]
OF_SCORES = ("class_tied", "nonnegative")  # heads that read one number a part
FIELDS = {"attributes": {"table": ((0,),) * 3}}  # of heads that cannot be made without
PARTS = {
    "gap": {},
    "ca_stream": {},
    "landmarks": {"parts": 4},
    "slots": {"parts": 4, "rounds": 1},
    "assigned": {"parts": 4, "groups": 2},
}
ONE = (("gap", "class_tied"), ("ca_stream", "class_tied"))  # one part cannot be of two classes
CASES = [(method, head) for method in PARTS for head in LINEAR if (method, head) not in ONE]
B, SIDE, CLASSES = 2, 4, 2


def make(method, head, **more):
    """A model of 16x16 pixels and 4x4 locations, and variables far from where they start."""
    fields = {"name": "standardised", "width": 1 if head in OF_SCORES else 3}
    config = {"backbone": BACKBONE, "method": {"name": method, **PARTS.get(method, {})}, "bottleneck": fields}
    model = build(config | {"head": {"name": head}} | more, CLASSES)
    images = jnp.zeros((B, 4 * SIDE, 4 * SIDE, 3))
    keys = {"params": jax.random.key(0), "gumbel": jax.random.key(1)}
    shapes = jax.eval_shape(lambda: model.init(keys, images, True))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), dict(shapes))
    if head == "nonnegative":  # of weights under zero none is left
        variables["params"]["head"] = jax.tree.map(np.abs, variables["params"]["head"])
    if "batch_stats" in variables:
        variables["batch_stats"] = jax.tree.map(lambda s: 0.5 + np.abs(s), variables["batch_stats"])
    return model, variables


FEATURES = np.abs(np.random.default_rng(1).normal(size=(B, SIDE, SIDE, 8))).astype(np.float32)
TARGET = np.array([1, 0])


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def run(request):
    """Outputs, contributions of both levels, and the logit with the feature of each location set to zero."""
    model, variables = make(*request.param)

    def drops(outputs):
        """The logit less that without the feature at n, the assignment as it is: [B,h,w]."""

        def logit(features):
            vectors = model.apply(variables, features, outputs.parts, method=PartModel.read_out)
            made = model.apply(variables, vectors, outputs.parts.presence, method=PartModel.classify)
            return made[jnp.arange(B), TARGET]

        def without(n):
            return logit(jnp.where(jnp.arange(SIDE * SIDE).reshape(SIDE, SIDE, 1) == n, 0.0, outputs.features))

        left = jax.lax.map(without, jnp.arange(SIDE * SIDE))
        return (logit(outputs.features) - left).T.reshape(B, SIDE, SIDE)

    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})  # compiles faster
    def everything(variables):
        outputs = model.apply(variables, FEATURES, method=PartModel.from_features)
        parts = part_contributions(outputs, TARGET)
        locations = location_contributions(model, variables, outputs, TARGET)
        return outputs, parts, locations, drops(outputs), centred_contributions(model, variables, outputs, TARGET)

    return request.param, model, variables, everything(variables)


def test_parts_and_the_bias_sum_to_the_logit(run):
    _, _, variables, (outputs, parts, *_) = run
    bias = variables["params"]["head"].get("bias", np.zeros(CLASSES))
    np.testing.assert_allclose(parts.sum(1) + bias[TARGET], outputs.logits[np.arange(B), TARGET], atol=1e-4)
    assert np.abs(parts).max() > 0.1 and parts.shape == outputs.parts.presence.shape


def test_taking_a_location_away_changes_the_logit_by_what_it_contributed(run):
    _, _, _, (_, _, locations, drops, _) = run
    assert locations.dtype == jnp.float32
    np.testing.assert_allclose(locations.sum(1), drops, atol=1e-4 * max(1, np.abs(drops).max()))
    assert np.abs(drops).max() > 0.02


def test_locations_sum_to_the_part_less_what_it_would_be_without_features(run):
    """Part by part, so that no part's share lands in another's map."""
    _, model, variables, (outputs, parts, locations, *_) = run
    codes = model.bottleneck.apply(
        {name: tree.get("bottleneck", {}) for name, tree in variables.items()}, jnp.zeros_like(outputs.parts.vectors), False
    )
    head = {"params": variables["params"]["head"]}
    empty = model.head.apply(head, codes, outputs.parts.presence, method="contributions")[np.arange(B), :, TARGET]
    np.testing.assert_allclose(locations.sum((2, 3)), parts - empty, atol=1e-4 * max(1, np.abs(parts).max()))


def test_centred_contributions_of_locations_sum_to_those_of_their_part(run):
    _, _, _, (outputs, parts, _, _, centred) = run
    placed = np.asarray(outputs.parts.assignment.sum((2, 3))) > 1e-4
    np.testing.assert_allclose(
        np.where(placed, centred.sum((2, 3)), 0), np.where(placed, parts, 0), atol=2e-4 * max(1, np.abs(parts).max())
    )


def test_centred_contributions_of_a_pooled_network_are_those_of_features_less_their_mean():
    """`c_n = sum_d w_d (z_nd - mean_d) / (N spread_d)`, with the running mean and spread in float64."""
    names = dict(backbone=dict(name="patchnet"), method=dict(name="gap"), bottleneck=dict(name="standardised"))
    model = build(dict(**names, head=dict(name="concat")), CLASSES)
    rng = np.random.default_rng(0)
    features = rng.normal(size=FEATURES.shape)
    depth = features.shape[-1]
    mean, spread, weights = rng.normal(size=depth), rng.uniform(0.5, 2, depth), rng.normal(size=(1, depth, CLASSES))
    variables = {
        "params": {"head": {"kernel": jnp.asarray(weights), "bias": jnp.ones(CLASSES)}},
        "batch_stats": {"bottleneck": {"BatchNorm_0": {"mean": jnp.asarray(mean), "var": jnp.asarray(spread**2)}}},
    }
    outputs = model.apply(variables, jnp.asarray(features, jnp.float32), method=PartModel.from_features)
    found = centred_contributions(model, variables, outputs, TARGET)[:, 0]
    wanted = np.einsum("bhwd,bd->bhw", (features - mean) / spread, weights[0][:, TARGET].T) / (SIDE * SIDE)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_the_map_of_one_part_is_hires_cam(run):
    (method, _), model, variables, (_, _, locations, *_) = run
    if method == "gap":
        model_of_features = types.SimpleNamespace(maps=lambda x: x, head=explained(model, variables).head)
        found = jax.jit(lambda: hires_cam(model_of_features, FEATURES, TARGET))()
        np.testing.assert_allclose(locations[:, 0], found, atol=1e-4)


def test_only_the_class_that_is_asked_for_matters(run):
    case, _, _, (outputs, parts, *_) = run
    for c in range(CLASSES):
        np.testing.assert_array_equal(part_contributions(outputs, np.full(B, c)), outputs.contributions[:, :, c])
    assert not np.allclose(parts, part_contributions(outputs, 1 - TARGET)), case


def by_hand(assignment, contributions):
    """Outputs with an assignment [B,K,h,w] and contributions [B,K,C], and nothing else."""
    parts = types.SimpleNamespace(assignment=jnp.asarray(assignment, jnp.float32))
    return types.SimpleNamespace(parts=parts, contributions=jnp.asarray(contributions, jnp.float32))


def test_spread_contributions_by_hand():
    assignment = [[[[1.0, 0.5], [0.5, 0.0]], [[0.0, 0.25], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]]
    outputs = by_hand(assignment, [[[0.0, 8.0], [0.0, -3.0], [0.0, 5.0]]])
    found = spread_contributions(outputs, np.array([1]))
    # 8 goes over a mass of two, -3 all to one place; a part without a place has nowhere to show.
    np.testing.assert_allclose(found, [[[4.0, 2.0 - 3.0], [2.0, 0.0]]], atol=1e-6)


def test_spread_contributions_sum_to_those_of_the_parts(run):
    _, _, _, (outputs, parts, *_) = run
    placed = np.minimum(outputs.parts.assignment.sum((2, 3)) / 1e-6, 1)  # under a mass of 1e-6 a part fades away
    found = spread_contributions(outputs, TARGET).sum((1, 2))
    np.testing.assert_allclose(found, (parts * placed).sum(1), rtol=1e-4, atol=1e-4)


def test_without_classifier_nothing_is_contributed():
    parts = by_hand(np.ones((B, 1, 1, 1)), np.ones((B, 1, CLASSES))).parts
    outputs = PartOutputs(features=None, parts=parts, codes=None, logits=None, embedding=None)
    for function in (part_contributions, spread_contributions):
        with pytest.raises(UserError, match="the model has no classifier"):
            function(outputs, TARGET)


def names(method="landmarks", bottleneck="standardised", head="concat", **more):
    """A model by the names of its pieces; `level` reads no numbers."""
    config = {"backbone": BACKBONE, "method": {"name": method}, "bottleneck": {"name": bottleneck}}
    return build(config | ({"head": {"name": head, **FIELDS.get(head, {})}} if head else {}) | more, CLASSES)


READ_OUT = {"gap", "ca_stream", "landmarks", "locations", "slots", "assigned"}  # linear in the features


@pytest.mark.parametrize("bottleneck", BOTTLENECKS)
@pytest.mark.parametrize("method", METHODS)
def test_the_level_of_every_combination(method, bottleneck):
    affine = bottleneck not in ("binary", "whitened")
    for head in HEADS:
        linear = head in ("class_tied", "concat", "linear", "nonnegative")
        expected = 0 if not linear else 2 if affine and method in READ_OUT else 1
        assert level(names(method, bottleneck, head)) == expected, head
        again = names(method, bottleneck, head, readout={"name": "isolated"})
        assert level(again) == (0 if not linear else 3 if affine else 1), head
    assert level(names(method, bottleneck, None)) == 0


def test_the_report_has_a_sentence_for_every_level():
    assert [text.split(":")[0] for text in LEVELS] == ["None", "Level 1", "Level 2", "Level 3"]


@pytest.mark.parametrize(
    "model, reason",
    [
        (names(head="cosine"), "the head Cosine is not linear in the codes"),
        (names(head="attention"), "the head Attention is not linear in the codes"),
        (names(head=None), "the head None is not linear in the codes"),
        (names(bottleneck="binary"), "the bottleneck Binary is not affine"),
        (names("prototypes"), "the read-out of the part method Prototypes is not linear in the features"),
        (names("exclusive"), "the read-out of the part method Exclusive is not linear in the features"),
        (names("regions"), "the read-out of the part method Regions is not linear in the features"),
        (names(readout={"name": "isolated"}), "the read-out Isolated reads the image again"),
    ],
)
def test_a_model_without_exact_locations_says_why(model, reason):
    with pytest.raises(UserError, match=f"no exact contributions of locations: {reason}.*; expected level 2") as raised:
        location_contributions(model, {}, None, TARGET)
    assert "\n" not in str(raised.value)
