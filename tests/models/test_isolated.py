"""The isolated read-out: a part's contribution reads its own pixels and nothing else, bit for bit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.models.isolated import Isolated, attend, harden, own_neighbours, regions
from partrep.models.part_model import build

K, C = 3, 5
CONFIG = {
    "backbone": {"name": "patchnet", "widths": [8], "depths": [1], "strides": [1], "patch": 4},
    "method": {"name": "landmarks", "parts": K},
    "bottleneck": {"name": "standardised"},
    "head": {"name": "concat"},
    "readout": {"name": "isolated", "width": 8, "depth": 2, "heads": 2, "convolutions": 1},
    "proposal_head": {"name": "linear"},
}


def random_masks(rng, batch=2, side=6):
    """Masks f32 [B,K,h,w] in {0,1}, disjoint, with a background."""
    return (rng.integers(0, K + 1, (batch, 1, side, side)) == np.arange(K)[:, None, None]).astype(np.float32)


def pixels(masks, patch=4):
    """[B,K,h,w] -> bool [B,K,H,W,1]: the pixels of each part."""
    return masks.astype(bool).repeat(patch, 2).repeat(patch, 3)[..., None]


@pytest.fixture(scope="module")
def run():
    model = build(CONFIG, classes=C)
    rng = np.random.default_rng(0)
    image, masks = rng.uniform(size=(2, 24, 24, 3)).astype(np.float32), random_masks(rng)
    variables = jax.jit(lambda x: model.init(jax.random.key(0), x, True))(image)
    # Away from its start: weights of the head that matter, statistics of the bottleneck that are not zero and one.
    params = jax.tree.map(lambda p: p + 0.3 * rng.normal(size=p.shape).astype(np.float32), variables["params"])
    statistics = jax.tree.map(lambda s: s + 0.1 * rng.uniform(size=s.shape), variables["batch_stats"])
    variables = {"params": params, "batch_stats": jax.tree.map(jnp.float32, statistics)}

    @jax.jit
    def explained(image, masks):
        out = model.apply(variables, image, masks, method="from_masks")
        head = {"params": variables["params"]["head"]}
        return out, model.head.apply(head, out.codes, out.parts.presence, method="contributions")

    return model, variables, image, masks, explained


@pytest.mark.parametrize("part", range(K))
@pytest.mark.parametrize("noise", ["uniform", "huge"])
def test_pixels_outside_a_part_change_no_bit_of_its_contribution(run, part, noise):
    _, _, image, masks, explained = run
    rng = np.random.default_rng(100 + part)
    other = rng.uniform(size=image.shape) if noise == "uniform" else 1e6 * rng.normal(size=image.shape)
    replaced = np.where(pixels(masks)[:, part], image, other.astype(np.float32))
    (before, share), (after, changed) = explained(image, masks), explained(replaced, masks)
    np.testing.assert_array_equal(np.asarray(share[:, part]).view(np.int32), np.asarray(changed[:, part]).view(np.int32))
    np.testing.assert_array_equal(before.parts.vectors[:, part], after.parts.vectors[:, part])
    others = [k for k in range(K) if k != part]
    assert (np.asarray(share)[:, others] != np.asarray(changed)[:, others]).any(-1).all()


def test_neighbours_of_the_own_part_alone_make_a_convolution_of_each_part_by_itself():
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(2, 5, 4, 3)).astype(np.float32), rng.integers(0, 3, (2, 5, 4))
    kernel = rng.normal(size=(3, 3, 3, 2)).astype(np.float32)

    @jax.jit
    def both(x, labels):
        def convolved(k):
            own = (labels == k)[..., None]
            y = jax.lax.conv_general_dilated(own * x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
            return own * y

        return own_neighbours(x, labels) @ kernel.reshape(27, 2), sum(convolved(k) for k in range(3))

    np.testing.assert_allclose(*both(x, labels), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("part", range(K))
def test_one_pixel_inside_changes_the_part_and_no_other(run, part):
    _, _, image, masks, explained = run
    example, y, x, _ = np.argwhere(pixels(masks)[:, part])[7]
    changed = image.copy()
    changed[example, y, x, 1] += 0.5
    difference = np.asarray(explained(changed, masks)[1]) != np.asarray(explained(image, masks)[1])
    expected = np.zeros((2, K, C), bool)
    expected[example, part] = True
    np.testing.assert_array_equal(difference, expected)


def test_masks_of_other_parts_do_not_matter_either(run):
    _, _, image, masks, explained = run
    alone = np.where(np.arange(K)[:, None, None] == 1, masks, 0)
    np.testing.assert_array_equal(explained(image, masks)[1][:, 1], explained(image, alone)[1][:, 1])


def test_every_token_of_a_part_reaches_every_other(run):
    model, variables, image, masks, _ = run
    tokens = jax.jit(lambda x: model.apply(variables, x, masks, method="from_masks").features)
    inside = np.argwhere(masks[0, 0])
    changed = image.copy()
    changed[0, 4 * inside[0][0], 4 * inside[0][1]] += 0.5
    different = (np.asarray(tokens(changed)) != np.asarray(tokens(image))).any(-1)
    np.testing.assert_array_equal(different, np.stack([masks[0, 0], np.zeros((6, 6))]).astype(bool))


def test_contributions_and_the_bias_are_the_logits(run):
    _, variables, image, masks, explained = run
    out, share = explained(image, masks)
    np.testing.assert_allclose(share.sum(1) + variables["params"]["head"]["bias"], out.logits, atol=1e-4)
    assert np.abs(out.logits).max() > 0.1


def test_permuting_parts_permutes_their_vectors(run):
    _, _, image, masks, explained = run
    order = [2, 0, 1]
    straight, permuted = explained(image, masks)[0].parts, explained(image, masks[:, order])[0].parts
    np.testing.assert_array_equal(straight.vectors[:, order], permuted.vectors)
    np.testing.assert_array_equal(straight.centroid[:, order], permuted.centroid)


def test_permuting_parts_permutes_contributions_where_the_head_is_shared(run):
    _, _, image, masks, explained = run
    config = {**CONFIG, "bottleneck": {"name": "identity"}, "head": {"name": "linear"}}
    model, out = build(config, classes=C), explained(image, masks)[0]
    variables = model.head.init(jax.random.key(0), out.codes, out.parts.presence, False)
    vectors, presence = out.parts.vectors, out.parts.presence
    share = model.head.apply(variables, vectors, presence, method="contributions")
    permuted = model.head.apply(variables, vectors[:, ::-1], presence, method="contributions")
    np.testing.assert_allclose(share[:, ::-1], permuted, rtol=1e-6)


def test_a_part_with_no_location_has_the_vector_zero_and_a_constant_code(run):
    _, variables, image, masks, explained = run
    masks = masks * (np.arange(K) != 1)[:, None, None]
    out, share = explained(image, masks)
    np.testing.assert_array_equal(out.parts.vectors[:, 1], 0)
    np.testing.assert_array_equal(out.parts.presence, [[1, 0, 1]] * 2)
    np.testing.assert_array_equal(share[0, 1], share[1, 1])  # the bottleneck's constant, whatever the image
    flat = variables["batch_stats"]["bottleneck"]["BatchNorm_0"]
    constant = (-flat["mean"] / np.sqrt(flat["var"] + 1e-6)).reshape(K, -1)[1]
    np.testing.assert_allclose(out.codes[0, 1], constant, rtol=1e-5)


def test_the_model_reads_its_own_masks(run):
    model, variables, image, _, explained = run
    out = jax.jit(lambda x: model.apply(variables, x, False))(image)
    given, _ = explained(image, out.parts.assignment)
    np.testing.assert_array_equal(out.codes, given.codes)
    np.testing.assert_array_equal(out.parts.background, given.parts.background)
    assert given.proposal is None and out.proposal_logits.shape == (2, C)
    shares = np.concatenate([out.proposal.assignment, out.proposal.background[:, None]], 1)
    assert ((shares > 0) & (shares < 1)).any()
    chosen = np.concatenate([out.parts.assignment, out.parts.background[:, None]], 1)
    np.testing.assert_array_equal(chosen, np.arange(K + 1)[:, None, None] == shares.argmax(1)[:, None])
    np.testing.assert_allclose(out.parts.vectors, np.einsum("bkhw,bhwd->bkd", chosen[:, :K], out.features) / 36, atol=1e-5)


def test_gradients_reach_the_part_method_and_are_finite(run):
    model, variables, image, _, _ = run

    def loss(params, image):
        out = model.apply({**variables, "params": params}, image, False)
        return jax.nn.logsumexp(out.logits, -1).sum()

    gradients = jax.jit(jax.grad(loss))(variables["params"], image)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))
    assert all(np.abs(gradients["method"][name]).max() > 1e-6 for name in ("prototypes", "sharpness"))
    assert max(np.abs(g).max() for g in jax.tree.leaves(gradients["backbone"])) > 1e-6
    assert min(np.abs(g).max() for g in jax.tree.leaves(gradients["readout"])) > 0
    assert all((g == 0).all() for g in jax.tree.leaves(gradients["proposal_head"]))  # it only trains by its own loss


def test_hard_masks_are_exact_and_have_the_gradient_of_the_shares():
    rng = np.random.default_rng(0)
    shares = jnp.asarray(rng.dirichlet(np.ones(4), (2, 5, 5)).transpose(0, 3, 1, 2), jnp.float32)
    weights = jnp.asarray(rng.normal(size=shares.shape), jnp.float32)

    def total(shares):
        masks, rest = harden(shares[:, :-1], shares[:, -1])
        return (jnp.concatenate([masks, rest[:, None]], 1) * weights).sum(), (masks, rest)

    gradient, (masks, rest) = jax.jit(jax.grad(total, has_aux=True))(shares)
    assert set(np.unique(masks)) == {0.0, 1.0} and masks.dtype == jnp.float32
    np.testing.assert_array_equal(masks.sum(1) + rest, 1)
    np.testing.assert_array_equal(gradient, weights)
    everything, none = jax.jit(harden)(shares)
    assert none is None
    np.testing.assert_array_equal(everything.sum(1), 1)


def convolve(params, statistics, x, cells):
    """The residual convolutions on the cells of one part, float64: [n,D] at cells [n,2] -> [n,D]."""
    where, y = {tuple(cell): i for i, cell in enumerate(cells)}, x
    for i in range(2):
        kernel = np.float64(params[f"convolution_{i}"]["kernel"]).reshape(3, 3, x.shape[1], -1)
        total = np.zeros_like(y)
        for cell, j in where.items():
            for dy in range(3):
                for dx in range(3):
                    other = where.get((cell[0] + dy - 1, cell[1] + dx - 1))
                    total[j] += 0 if other is None else y[other] @ kernel[dy, dx]
        p, s = params[f"BatchNorm_{i}"], statistics[f"BatchNorm_{i}"]
        total = (total - s["mean"]) / np.sqrt(np.float64(s["var"]) + 1e-5) * p["scale"] + p["bias"]
        y = np.maximum(total if i == 0 else x + total, 0)
    return y


def oracle(params, statistics, patches, place, cells, heads):
    """The encoder on the tokens of one part, float64: patches [n,P], place [n,D], cells [n,2] -> [n,D]."""
    def dense(x, p):
        return x @ np.float64(p["kernel"]) + np.float64(p.get("bias", 0))

    def norm(x, p):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return x * np.float64(p["scale"]) + np.float64(p["bias"])

    def unit(x):
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    x = dense(patches, params["embedding"]) + place
    x = convolve(params["convolutions_0"], statistics["convolutions_0"], x, cells)
    for i in range(2):
        block = params[f"block_{i}"]
        q, k, v = np.split(dense(norm(x, block["attention_norm"]), block["query_key_value"]), 3, -1)
        sharpness, out = np.minimum(np.exp(np.float64(block["log_sharpness"])), 20), []
        for a, cut in enumerate(np.split(np.arange(x.shape[-1]), heads)):
            weights = np.exp(sharpness[a] * unit(q[:, cut]) @ unit(k[:, cut]).T)
            out.append(weights / weights.sum(-1, keepdims=True) @ v[:, cut])
        x = x + dense(np.concatenate(out, -1), block["attention_output"])
        hidden = np.maximum(dense(norm(x, block["mlp_norm"]), block["mlp_hidden"]), 0)
        x = x + dense(hidden, block["mlp_output"])
    return norm(x, params["norm"])


def test_masking_equals_running_on_the_tokens_of_the_part_alone(run):
    _, variables, image, masks, explained = run
    params, statistics = (
        jax.tree.map(np.asarray, variables[collection]["readout"]) for collection in ("params", "batch_stats")
    )
    vectors, tokens = explained(image, masks)[0].parts.vectors, explained(image, masks)[0].features
    cells = np.float64((image - 0.5) / 0.25).reshape(2, 6, 4, 6, 4, 3).transpose(0, 1, 3, 2, 4, 5).reshape(2, 36, 48)
    for b in range(2):
        for k in range(K):
            own = np.flatnonzero(masks[b, k].ravel())
            place = np.float64(params["position"][own])
            alone = oracle(params, statistics, cells[b, own], place, np.argwhere(masks[b, k]), heads=2)
            np.testing.assert_allclose(tokens[b].reshape(36, -1)[own], alone, rtol=1e-3, atol=1e-4)
            np.testing.assert_allclose(vectors[b, k], alone.sum(0) / 36, rtol=1e-3, atol=1e-4)


def test_sharp_attention_is_finite_with_its_gradient():
    rng = np.random.default_rng(0)
    token = jnp.asarray(rng.normal(size=(1, 6, 2, 4)), jnp.float32).at[:, 2].set(0.0)
    labels = jnp.array([[0, 0, 0, 1, 2, 2]])
    value = jax.jit(jax.grad(lambda q: attend(q, -token, token, labels, jnp.full(2, 20.0)).sum()))(token)
    assert np.isfinite(value).all()
    alone = attend(token, -token, token, labels, jnp.full(2, 20.0))[:, 3]
    np.testing.assert_allclose(alone, token[:, 3], rtol=1e-6)


@pytest.mark.parametrize(
    "fields, image, message",
    [
        ({"width": 9}, (24, 24), "width 9, depth 2, 0 pairs of convolutions, 2 heads; expected"),
        ({"depth": 0}, (24, 24), "depth 0, 0 pairs of convolutions"),
        ({}, (25, 24), "image of 25x24 and masks of 6x6"),
        ({}, (24, 48), "image of 24x48 and masks of 6x6"),
    ],
)
def test_mistakes(fields, image, message):
    module = Isolated(**fields)
    proposal = jax.eval_shape(regions, jnp.ones((1, 2, 6, 6)))
    with pytest.raises(UserError, match=message):
        jax.eval_shape(lambda x, p: module.init(jax.random.key(0), x, p, False), jnp.ones((1, *image, 3)), proposal)


def test_mistakes_in_the_config():
    with pytest.raises(UserError, match="a proposal_head and no readout"):
        build({k: v for k, v in CONFIG.items() if k != "readout"}, classes=C)
    with pytest.raises(UserError, match="unknown read-out 'shared'; known: isolated"):
        build({**CONFIG, "readout": {"name": "shared"}}, classes=C)
    plain = build({k: CONFIG[k] for k in ("backbone", "method", "head")}, classes=C)
    with pytest.raises(UserError, match="no isolated read-out"):
        jax.eval_shape(lambda: plain.init(jax.random.key(0), jnp.ones((1, 8, 8, 3)), jnp.ones((1, 2, 2, 2)), method="from_masks"))


def test_low_precision_keeps_masks_and_vectors_float32():
    model = build(CONFIG, classes=C, dtype=jnp.bfloat16)
    image = jnp.zeros((2, 24, 24, 3))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), image, True))
    out = jax.eval_shape(lambda v: model.apply(v, image, False), variables)
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(variables))
    assert out.parts.vectors.dtype == out.parts.assignment.dtype == out.logits.dtype == jnp.float32
