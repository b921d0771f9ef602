"""The task's stages: batches that depend on the step alone, losses with the terms asked for, heads with parameters."""

import jax
import numpy as np
import pytest

from configs import fewshot as presets
from partrep import UserError
from partrep.tasks import fewshot


@pytest.fixture(scope="module")
def task() -> fewshot.Fewshot:
    config = presets.get_config("episodic,smoke")
    config.data.size = 32
    config.data.images = (10, 4, 4)
    config.losses = dict(orthogonality=0.5, presence=0.25)
    return fewshot.make(config)


def test_batches_are_a_function_of_the_step(task):
    classes, episodes = (stage.batches for stage in fewshot.stages(task))
    again = [stage.batches for stage in fewshot.stages(task)]
    for old, new in zip((classes, episodes), again):
        jax.tree.map(np.testing.assert_array_equal, old[3], new[3])
    assert not np.array_equal(classes[3]["keys"], classes[4]["keys"])


def test_episode_batches_hold_new_queries_of_the_support_classes(task):
    batch = fewshot.stages(task)[1].batches[0]
    support, query = batch["support"], batch["query"]
    assert support["label"].shape[:1] == query["label"].shape[:1] == batch["query_label"].shape[:1]
    for e, labels in enumerate(query["label"]):
        np.testing.assert_array_equal(support["label"][e, :, 0][batch["query_label"][e]], labels)
        keys = {tuple(k) for k in support["keys"][e].reshape(-1, 2)}
        assert not keys & {tuple(k) for k in query["keys"][e]}


def test_part_terms_carry_their_weights(task):
    images = np.random.default_rng(0).uniform(size=(2, 32, 32, 3)).astype(np.float32)
    outputs = task.outputs(task.init(jax.random.key(0)), images)
    terms = fewshot.part_terms(task, outputs)
    assert {name: weight for name, (_, weight) in terms.items()} == {"orthogonality": 0.5, "presence": 0.25}


def test_unknown_names_list_the_known(task):
    config = presets.get_config("smoke")
    config.model.method = dict(name="petals")
    with pytest.raises(UserError, match="unknown part method 'petals'.*gap, landmarks, slots"):
        fewshot.make(config)
