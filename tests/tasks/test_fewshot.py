"""The task's stages: batches that depend on the step alone, losses with the terms asked for, heads with parameters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import fewshot as presets
from partrep import UserError
from partrep.data import imageset
from partrep.data.fewshot import FewshotData
from partrep.data.source import ArraySource
from partrep.models.heads.aligned import aligned
from partrep.models.local import Local
from partrep.models.part_model import build
from partrep.tasks import fewshot
from partrep.tasks.part_terms import part_terms


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
    terms = part_terms(task.config["losses"], outputs)
    assert {name: weight for name, (_, weight) in terms.items()} == {"orthogonality": 0.5, "presence": 0.25}


def test_unknown_names_list_the_known(task):
    config = presets.get_config("smoke")
    config.model.method = dict(name="petals")
    with pytest.raises(UserError, match="unknown part method 'petals'.*gap, gem, landmarks, locations, prototypes, regions, rmac, slots"):
        fewshot.make(config)
    config.head.name = "frn"
    with pytest.raises(UserError, match="config.head has 'geometry', which few-shot head 'frn' does not take"):
        fewshot.make(config)


@pytest.fixture(scope="module")
def drawings() -> fewshot.Fewshot:
    """The Omniglot preset on twelve small random drawings of four characters."""
    config = presets.get_config("omniglot,smoke")
    config.data.size = 12
    config.model.backbone.widths = (4, 8, 8)
    config.model.method.parts = 2
    rng = np.random.default_rng(0)
    images = rng.choice(np.array([0, 255], np.uint8), (12, 14, 14, 1))
    source = ArraySource(images, np.arange(12) // 3, list("abcd"))
    train = imageset.of_arrays(source, 12, None, rotated=True)
    data = FewshotData(train, imageset.of_arrays(source, 12), None, None, channels=1)
    return fewshot.Fewshot(config, data, build(config.model, train.classes))


def test_an_invented_class_teaches_the_classifier_nothing(drawings):
    (stage,) = fewshot.stages(drawings)
    variables = drawings.init(jax.random.key(0))
    params, state = variables["params"], {k: v for k, v in variables.items() if k != "params"}

    def gradient(share: float, term: str):
        drawings.config["stages"]["pairs"]["invented"] = share
        loss = functools.partial(fewshot.pairs_loss, drawings)

        def total(params, batch):
            terms, _ = loss(params, state, {}, batch, jax.random.key(1))
            return terms[term][0]

        found = jax.jit(jax.grad(total))(params, stage.batches[0])["model"]
        return jax.tree.map(lambda g: float(jnp.abs(g).max()), found)

    assert max(jax.tree.leaves(gradient(1.0, "classification"))) == 0
    assert min(jax.tree.leaves(gradient(0.0, "classification")["head"])) > 0
    episode = gradient(1.0, "pairs")
    assert max(jax.tree.leaves(episode["head"])) == 0 and max(jax.tree.leaves(episode["backbone"])) > 0


def test_the_pairs_of_a_batch_are_one_episode_read_both_ways():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(10, 2, 3)).astype(np.float32)
    local = Local(jnp.asarray(vectors), jnp.ones((10, 2)), jnp.zeros((10, 2, 2)))
    head = functools.partial(aligned, scale=7.0, geometry=0.0, weighting="length")
    entropy, right = fewshot._pair_episode(head, local)
    flat = vectors.astype(np.float64).reshape(10, 6)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    logits = 7.0 * flat[0::2] @ flat[1::2].T
    ways = [logits, logits.T]
    expected = np.mean([np.log(np.exp(x).sum(1)) - np.diag(x) for x in ways])
    np.testing.assert_allclose(entropy, expected, rtol=1e-5)
    np.testing.assert_allclose(right, np.mean([x.argmax(1) == np.arange(5) for x in ways]))


def test_stages_that_cannot_be_are_user_errors(task, drawings):
    config = presets.get_config("omniglot,smoke")
    with pytest.raises(UserError, match="'pairs' needs stored images; birds are rendered"):
        fewshot.stages(fewshot.Fewshot({**task.config, "stages": config.stages}, task.data, task.model))
    with pytest.raises(UserError, match="unknown stage 'pair'; known: classify, pairs, episodes"):
        fewshot.stages(fewshot.Fewshot({**task.config, "stages": {"pair": {}}}, task.data, task.model))


def test_a_bfloat16_step_is_that_of_float32_within_its_precision(task):
    """Features are bfloat16; parameters, statistics and losses stay float32."""
    config = task.config.copy_and_resolve_references()
    config.dtype = "bfloat16"
    low = fewshot.make(config)
    variables = task.init(jax.random.key(0))
    params, state = variables["params"], {k: v for k, v in variables.items() if k != "params"}
    batch = fewshot.stages(task)[0].batches[0]

    def loss(task, params, batch):
        terms, aux = fewshot.classification_loss(task, params, state, {}, batch, jax.random.key(1))
        return sum(value * weight for value, weight in terms.values()), (terms, aux.model_state)

    def step(task):
        return jax.jit(jax.value_and_grad(functools.partial(loss, task), has_aux=True))(params, batch)

    (exact, _), wanted = step(task)
    (value, (terms, new)), found = step(low)
    assert low.outputs(variables, jnp.zeros((1, 32, 32, 3))).features.dtype == jnp.bfloat16
    assert {x.dtype for x in jax.tree.leaves((found, new, [v for v, _ in terms.values()]))} == {jnp.dtype("float32")}
    np.testing.assert_allclose(value, exact, rtol=0.02)
    flat, other = (jnp.concatenate([x.ravel() for x in jax.tree.leaves(tree)]) for tree in (wanted, found))
    assert jnp.vdot(flat, other) > 0.98 * jnp.linalg.norm(flat) * jnp.linalg.norm(other)


def test_hard_episodes_of_birds_share_two_parts_with_the_first_class(task):
    images, kind = task.data.novel, task.config["evaluation"]["further"]["hard"]
    episodes = fewshot.sampler(images, kind, seed=0).batch(0, 20)
    codes = images.class_parts[episodes.classes]  # [E,C,6]
    assert ((codes[:, :1] == codes[:, 1:]).sum(-1) == 2).all()
    with pytest.raises(UserError, match="no class has 4 others alike to it"):  # one coset: lines meet once
        fewshot.sampler(task.data.validation, kind, seed=0)


def test_only_birds_have_episodes_by_shared_parts(drawings):
    settings = dict(ways=2, shots=1, queries=1, shared_parts=2)
    with pytest.raises(UserError, match="share 2 parts need birds"):
        fewshot.sampler(drawings.data.held_out, settings, seed=0)
