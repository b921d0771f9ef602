"""The table of explanations: every method finds what a model reads, image by image, and imports nothing heavy."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.explain import EXPLANATIONS, Explained
from partrep.explain.maps import spread
from partrep.explain.shapley import label_masks

HEAVY = ("grain", "orbax", "matplotlib", "tensorflow", "sklearn", "PIL", "partrep.train", "partrep.data.source")
QUARTER = (np.arange(8)[:, None] >= 4) * 2 + (np.arange(8) >= 4)
IN_QUARTER = (QUARTER[::2, ::2, None] == np.arange(4)).astype(np.float32)
WEIGHTS = 20 * np.eye(4, dtype=np.float32)


def by_quarter(images):
    """The brightness of each 2 x 2 block, in the channel of the quarter of the image that it lies in."""
    grey = images.reshape(-1, 4, 2, 4, 2, 3).mean((2, 4, 5))
    return grey[..., None] * IN_QUARTER


# Class k reads the quarter k of the image alone, and more of it less than in proportion.
MODEL = Explained(by_quarter, lambda z: jnp.sqrt(0.01 + z.mean((1, 2))) @ WEIGHTS)
# Opti-CAM has a reason to hide only what speaks against the class: here the other quarters.
RIVALS = Explained(by_quarter, lambda z: jnp.sqrt(0.01 + z.mean((1, 2))) @ (WEIGHTS - 5.0))
SETTINGS = {
    "cam": {"weights": WEIGHTS},
    "occlusion": {"window": 4, "stride": 2, "baseline": 0.0},
    "shapley_map": {"regions": label_masks(jnp.broadcast_to(QUARTER, (2, 8, 8)), 4), "baseline": 0.0},
    "smooth_grad": {"noise": 0.01},
}
IMAGES = np.random.default_rng(0).uniform(0.3, 1.0, size=(3, 8, 8, 3)).astype(np.float32)
TARGET = np.array([1, 2])


@pytest.mark.parametrize("name", EXPLANATIONS)
def test_every_method_finds_the_quarter_that_is_read_whatever_else_is_in_the_batch(name):
    model = RIVALS if name == "opti_cam" else MODEL
    explain = jax.jit(lambda x: EXPLANATIONS[name](model, x, TARGET, **SETTINGS.get(name, {})))
    maps, again = explain(IMAGES[:2]), explain(IMAGES[::2])
    assert maps.dtype == jnp.float32 and maps.shape in ((2, 4, 4), (2, 8, 8))
    np.testing.assert_allclose(maps[0], again[0], rtol=1e-4, atol=1e-5)
    positive = np.maximum(spread(maps, 8, 8), 0)
    inside = (positive * (QUARTER == TARGET[:, None, None])).sum((1, 2)) / positive.sum((1, 2))
    # Windows reach over the border of the quarter, and an interpolated mask a little.
    assert (inside > {"occlusion": 0.5, "opti_cam": 0.8}.get(name, 0.9)).all()
    # The greatest value lies in the quarter too.
    assert (QUARTER.ravel()[positive.reshape(2, -1).argmax(1)] == TARGET).all()


@pytest.mark.parametrize("name", EXPLANATIONS)
def test_the_docstring_states_what_a_reader_needs(name):
    method = EXPLANATIONS[name]
    assert method.__name__ == name
    for word in ("Args:", "Returns:", "Raises:", ">>>", "Source:", "Departures:"):
        assert word in method.__doc__


def test_importing_pulls_in_no_data_loading_checkpointing_or_plotting():
    code = f"import sys, partrep.explain; print([m for m in {HEAVY} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
