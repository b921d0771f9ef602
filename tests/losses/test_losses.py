"""The table of losses: every entry is documented, float32 for bfloat16 input, and imports nothing heavy."""

import subprocess
import sys

import jax.numpy as jnp
import pytest

from partrep.losses import LOSSES

HEAVY = ("grain", "orbax", "matplotlib", "tensorflow", "tensorflow_datasets", "sklearn", "PIL")
ASSIGNMENT = jnp.full((2, 3, 4, 4), 0.25, jnp.bfloat16)
VECTORS, LABELS = jnp.ones((2, 4), jnp.bfloat16), jnp.array([0, 1])
INPUTS = {
    "arcface": (VECTORS, VECTORS, LABELS),
    "assignment_agreement": (ASSIGNMENT, ASSIGNMENT),
    "background_presence": (ASSIGNMENT[:, 0],),
    "bit_balance": (jnp.ones((2, 4), jnp.bfloat16),),
    "bit_decorrelation": (jnp.ones((2, 4), jnp.bfloat16),),
    "centre_spread": (jnp.ones((2, 3, 4), jnp.bfloat16),),
    "class_usage": (jnp.ones((2, 3, 4), jnp.bfloat16),),
    "code_decorrelation": (jnp.ones((2, 4), jnp.bfloat16),),
    "cosface": (VECTORS, VECTORS, LABELS),
    "dip_i": (jnp.ones((2, 4), jnp.bfloat16),),
    "dip_ii": (jnp.ones((2, 4), jnp.bfloat16),) * 2,
    "alignment": (ASSIGNMENT, ASSIGNMENT),
    **{
        name: (jnp.ones((2, 4), jnp.bfloat16), jnp.array([0, 0]))
        for name in ("circle", "contrastive", "multi_similarity", "supervised_contrastive", "triplet")
    },
    "cluster": (jnp.ones((2, 4), jnp.bfloat16), jnp.array([0, 0, 1, 1]), jnp.array([0, 1])),
    "equivariance": (ASSIGNMENT, ASSIGNMENT),
    "gaussian_kl": (jnp.ones((2, 4), jnp.bfloat16),) * 2,
    "group_dro": (jnp.ones(2, jnp.bfloat16), jnp.array([0, 1]), jnp.full(2, 0.5)),
    "histogram_ap": (VECTORS, LABELS),
    "normalised_softmax": (VECTORS, VECTORS, LABELS),
    "nt_xent": (jnp.ones((2, 4), jnp.bfloat16),) * 2,
    "occurrence": (ASSIGNMENT[:, :, 0, 0], jnp.full((3, 2), 0.5)),
    "orthogonality": (jnp.ones((2, 3, 4), jnp.bfloat16),),
    "part_decorrelation": (jnp.ones((2, 3, 4), jnp.bfloat16),),
    "proxy_anchor": (VECTORS, VECTORS, LABELS),
    "proxy_nca": (VECTORS, VECTORS, LABELS),
    "quantisation": (jnp.ones((2, 4), jnp.bfloat16),),
    "query_diversity": (jnp.ones((3, 4), jnp.bfloat16),),
    "reciprocal_points": (VECTORS, VECTORS, jnp.float32(0.0), LABELS),
    "recombination": (jnp.ones((2, 4), jnp.bfloat16),) * 2,
    "reconstruction": (ASSIGNMENT, ASSIGNMENT),
    "smooth_ap": (VECTORS, LABELS),
    "soft_triple": (VECTORS, jnp.ones((2, 3, 4), jnp.bfloat16), LABELS),
    "softmax_cross_entropy": (jnp.ones((2, 4), jnp.bfloat16), jnp.array([0, 1])),
    "superfeature_contrastive": (jnp.ones((2, 3, 4), jnp.bfloat16), jnp.array([0, 0])),
    "total_correlation": (jnp.ones((2, 4), jnp.bfloat16),) * 3,
    "class_orthonormality": (jnp.ones((4, 3), jnp.bfloat16), 2),
    "separation": (jnp.ones((2, 4), jnp.bfloat16), jnp.array([0, 0, 1, 1]), jnp.array([0, 1])),
    "tanh_presence": (jnp.ones((2, 4), jnp.bfloat16),),
    "wrong_class_l1": (jnp.ones((2, 4), jnp.bfloat16), jnp.array([0, 1])),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_docstring_states_shape_source_and_an_example(name):
    text = LOSSES[name].__doc__
    for word in ("Args:", "Returns:", "Raises:", ">>>", "Source:"):
        assert word in text
    assert LOSSES[name].__name__ == name
    assert any(f"(per {unit})" in text for unit in ("example", "batch", "parameter"))


@pytest.mark.parametrize("name", LOSSES)
def test_bfloat16_input_gives_float32(name):
    made = LOSSES[name](*INPUTS.get(name, (ASSIGNMENT,)))
    value = made[0] if isinstance(made, tuple) else made  # with memory: the loss, and its next state
    assert value.dtype == jnp.float32 and value.shape in ((), (2,))


@pytest.mark.parametrize("module", ["partrep.losses", "partrep.metrics", "partrep.parts"])
def test_importing_pulls_in_no_data_loading_checkpointing_or_plotting(module):
    code = f"import sys, {module}; print([m for m in {HEAVY} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
