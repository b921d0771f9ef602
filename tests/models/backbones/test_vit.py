"""Vision transformers: published sizes, position embeddings on other grids, tokens."""

from __future__ import annotations

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.models.backbones import BACKBONES
from partrep.models.backbones.vit import attention, resized

GOLDEN = pathlib.Path(__file__).parents[1] / "pretrained/golden/golden.npz"
TINY = {"patch": 4, "width": 8, "depth": 1, "heads": 2, "grid": 3}


def test_sizes(describe):
    # DINO's ViT-S/16 has 21,665,664 parameters, 384 of them the position of the class token.
    assert describe(BACKBONES["vit"](), (1, 224, 224, 3)) == ((1, 14, 14, 384), 21_665_664 - 384)
    # DINOv2's ViT-B/14 has 86,580,480, 768 of them each in the mask token and the class token's position.
    fields = {"patch": 14, "width": 768, "heads": 12, "layer_scale": True, "grid": 37}
    assert describe(BACKBONES["vit"](**fields), (1, 224, 224, 3)) == ((1, 16, 16, 768), 86_580_480 - 2 * 768)
    more = describe(BACKBONES["vit"](**fields, registers=4), (1, 224, 224, 3))[1]
    assert more == 86_580_480 - 2 * 768 + 4 * 768


def test_positions_are_resized_as_the_networks_own_code_does():
    golden = np.load(GOLDEN)
    names = [name for name in golden.files if name.startswith("positions.")]
    assert len(names) == 10
    wanted = [(interpolation, int(h), int(w)) for _, interpolation, h, w in (name.split(".") for name in names)]
    found = jax.jit(lambda position: [resized(position, h, w, how) for how, h, w in wanted])(golden["positions"])
    for name, array in zip(names, found):
        np.testing.assert_allclose(array, golden[name], atol=1e-5, err_msg=name)


def test_the_same_grid_keeps_its_positions():
    position = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3, 2)).astype(np.float32))
    for interpolation in ("offset", "antialias"):
        np.testing.assert_array_equal(resized(position, 3, 3, interpolation), position)
    with pytest.raises(UserError, match="unknown interpolation of positions 'linear'; known: antialias, offset"):
        resized(position, 4, 4, "linear")


def test_attention_by_hand():
    query, key, value = np.random.default_rng(0).normal(size=(3, 1, 4, 6)).astype(np.float32)
    found = attention(query, key, value, 2)[0]
    for head in (slice(0, 3), slice(3, 6)):
        weights = np.exp(query[0, :, head] @ key[0, :, head].T / np.sqrt(3))
        expected = weights / weights.sum(1, keepdims=True) @ value[0, :, head]
        np.testing.assert_allclose(found[:, head], expected, rtol=1e-5, atol=1e-6)


def test_oblong_images(describe):
    assert describe(BACKBONES["vit"](**TINY), (2, 8, 20, 3))[0] == (2, 2, 5, 8)


def test_sides_that_patches_do_not_fill(describe):
    with pytest.raises(UserError, match="image or map of 16x18; expected sides that are multiples of the patch, 4"):
        describe(BACKBONES["vit"](**TINY), (1, 16, 18, 3))


def test_heads_that_do_not_divide_the_channels(describe):
    with pytest.raises(UserError, match="3 heads on 8 channels; expected a number that divides them"):
        describe(BACKBONES["vit"](**{**TINY, "heads": 3}), (1, 12, 12, 3))


def test_the_class_token_is_given_where_it_is_asked_for():
    model = BACKBONES["vit"](**TINY, registers=2)
    image = np.random.default_rng(0).normal(size=(2, 12, 12, 3)).astype(np.float32)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), image, False))
    assert set(shapes) == {"params"}
    features, state = jax.eval_shape(lambda v: model.apply(v, image, False, mutable=["intermediates"]), shapes)
    assert features.shape == (2, 3, 3, 8) and state["intermediates"]["cls_token"][0].shape == (2, 8)
    assert jax.eval_shape(lambda v: model.apply(v, image, False), shapes).shape == (2, 3, 3, 8)
