"""Which readers a few-shot run has, and which heads each of them tries."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.evaluate.readers import CHOICES, PAIR_PARTS
from partrep.models import local_views
from partrep.models.heads.aligned import aligned
from partrep.tasks import readers
from partrep.tasks.readers import KMEANS, PARTS, POOLED, TRAINED

FEATURES = np.random.default_rng(0).normal(size=(4, 4, 4, 6)).astype(np.float32)


def task_with(view: str = "parts", steps: int = 0, heads: tuple = (), head: str = "aligned"):
    """Stands for a task: its config, and a bound head that is a word."""
    config = dict(
        seed=0,
        evaluation=dict(dense=4, heads=heads),
        head=dict(name=head, view=view, scale=7.0),
        stages=dict(episodes=dict(steps=steps)),
    )
    settings = {"scale": 7.0}
    return SimpleNamespace(
        config=config, view=local_views.VIEWS[view], bound_head=lambda variables: "bound", head_settings=settings
    )


def test_a_head_trained_on_parts_is_tried_by_parts_alone():
    task = task_with(steps=5)
    assert TRAINED not in readers.views(task, 3, FEATURES)
    assert list(readers.choices(task, {}, PARTS)) == [*PAIR_PARTS, "trained aligned"]
    assert list(readers.choices(task, {}, KMEANS)) == list(CHOICES)


def test_a_head_trained_on_another_view_reads_that_view():
    task = task_with("dense", steps=5, head="frn")
    views = readers.views(task, 3, FEATURES)
    assert views[TRAINED] is local_views.dense
    assert readers.choices(task, {}, TRAINED) == {"trained frn": "bound"}
    assert list(readers.choices(task, {}, PARTS)) == list(PAIR_PARTS)
    assert TRAINED not in readers.views(task_with("dense"), 3, FEATURES)


def test_named_heads_take_the_place_of_the_usual_ones():
    task = task_with(heads=("mean", "aligned", "frn", "baseline++"))
    assert list(readers.choices(task, {}, POOLED)) == ["mean", "aligned", "frn", "baseline++"]
    assert list(readers.choices(task, {}, PARTS)) == ["aligned"]


@pytest.mark.parametrize("name", ["centred, aligned by length", "trained aligned"])
def test_pairing_explains_the_head_that_was_chosen(name):
    """Its settings give the logits of that head, with what training learned."""
    params = {"log_scale": jnp.float32(0.3), "log_geometry": jnp.float32(-1.0)}
    bound = jax.tree_util.Partial(aligned, params=params)
    head = bound if "trained" in name else CHOICES["aligned by length"]
    found = readers.pairing(task_with(), {"params": {"head": params}}, name, head)
    assert found == ({"scale": 7.0, "params": params} if "trained" in name else head.keywords)


def test_pairing_is_none_for_a_trained_head_that_pairs_no_parts():
    assert readers.pairing(task_with(head="frn"), {}, "trained frn", None) is None
