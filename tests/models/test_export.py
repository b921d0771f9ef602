"""The exported program: types, what it gives of models whose logits are no sum, and what cannot be exported."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.models.export import export_model
from partrep.models.part_model import build, outputs_of

BACKBONE = dict(name="patchnet", widths=(8,), depths=(0,), patch=4)
HASTY = {"xla_backend_optimization_level": 0}
METHOD = dict(name="landmarks", parts=4, temperature=0.5)


def made(head: str = "concat", dtype=jnp.float32, **fields):
    """A tiny model with its variables."""
    model = build(dict(backbone=BACKBONE, method=METHOD, head=dict(name=head, **fields)), 5, dtype)
    init = jax.jit(lambda key: model.init(key, jnp.zeros((1, 16, 16, 3)), False))
    return model, init.lower(jax.random.key(0)).compile(HASTY)(jax.random.key(0))


@pytest.fixture
def photos() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)


def test_outputs_are_float32_whatever_the_features_are_and_the_bias_is_that_of_the_head(photos):
    model, variables = made(dtype=jnp.bfloat16)
    variables["params"]["head"]["bias"] = jnp.arange(5.0)
    program = export_model(model, variables, 16)
    found = jax.jit(program.call)(photos)
    assert set(found) == {"logits", "maps", "contributions", "bias"}
    assert all(value.dtype == jnp.float32 for value in found.values())
    outputs = jax.jit(lambda x: outputs_of(model, variables, x / 255.0))(photos.astype(np.float32))
    np.testing.assert_allclose(found["logits"], outputs.logits, atol=1e-5)
    np.testing.assert_allclose(found["bias"], np.arange(5.0), atol=1e-6)
    np.testing.assert_allclose(found["bias"] + found["contributions"].sum(1), found["logits"], atol=1e-5)
    assert export_model(model, variables, 16).serialize() == program.serialize()


def test_without_an_exact_sum_no_contributions_are_given():
    program = export_model(*made("attention", width=8), 16)
    assert set(jax.tree.unflatten(program.out_tree, program.out_avals)) == {"logits", "maps"}


def test_what_cannot_be_exported_is_said_in_a_line():
    model, variables = made()
    with pytest.raises(UserError, match="no head"):
        export_model(dataclasses.replace(model, head=None), variables, 16)

    class Python(type(model.backbone)):
        """A backbone that asks Python for its features."""

        def __call__(self, image, train):
            z = super().__call__(image, train)
            return jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct(z.shape, z.dtype), z)

    fields = {f.name: getattr(model.backbone, f.name) for f in dataclasses.fields(model.backbone) if f.name not in ("parent", "name")}
    with pytest.raises(UserError, match="cannot be exported .*; expected one that calls no Python") as said:
        export_model(dataclasses.replace(model, backbone=Python(**fields)), variables, 16)
    assert "\n" not in str(said.value)
