"""What is found before a run writes, compiles or trains anything."""

import pytest

from configs import fewshot as presets
from partrep import UserError
from partrep.tasks import fewshot
from partrep.tasks.check import leaves
from partrep.tasks.fewshot_check import check_settings, check_task


def config_with(preset: str = "parts", **changes):
    name, *keys = preset.split(",")
    config = presets.get_config(",".join([name, "smoke", *keys]))
    config.data.size = 16 if config.data.name == "birds" else 28
    for path, value in changes.items():
        node, (*groups, last) = config, path.split("__")
        for group in groups:
            node = node[group]
        node[last] = value
    return config


@pytest.mark.parametrize(
    "preset",
    [
        *("parts", "landmarks", "gap", "episodic", "gap,bottleneck=identity", "landmarks,backbone=conv4"),
        *("parts,backbone=resnet12,bottleneck=binary", "gap,backbone=resnet18"),
        *(f"episodic,head={name}" for name in ("prototypes", "matching", "frn", "ctx", "deepemd")),
    ],
)
def test_sound_presets_pass(preset):
    config = config_with(preset, data__size=64)
    check_settings(config)
    check_task(fewshot.make(config))


@pytest.mark.parametrize("head, view", [("frn", "dense"), ("deepemd", "grid"), ("prototypes", "embedding")])
def test_a_head_may_be_trained_on_any_view(head, view):
    config = config_with(f"episodic,head={head}", head__view=view, data__size=64)
    check_task(fewshot.make(config))


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(seed=-1), "config.seed is -1; expected at least 0"),
        (dict(train__log_every=0), "config.train.log_every is 0; expected at least 1"),
        (dict(stages__classify__steps=-4), "config.stages.classify.steps is -4"),
        (dict(stages__classify__batch_size=0), "config.stages.classify.batch_size is 0"),
        (dict(evaluation__episodes=1), "config.evaluation.episodes is 1; expected at least 2"),
        (dict(evaluation__validation_episodes=1), "config.evaluation.validation_episodes is 1"),
        (dict(dtype="float64"), "config.dtype is 'float64'; expected one of auto, float32, bfloat16, float16"),
        (dict(data__name="folder"), "data 'folder' needs config.data.dir"),
        (dict(data__world=-1), "config.data.world is -1; expected at least 0"),
        (dict(seed=2**32), "config.seed is 4294967296; expected at most 4294967295"),
        (dict(evaluation__further__hard__episodes=1), "config.evaluation.further.hard.episodes is 1; expected at least 2"),
        (dict(train__best="accuracy"), "config.train.best is 'accuracy'; expected '' or 'validation/accuracy'"),
        (dict(train__best="validation/accuracy"), "expected --config.train.validate_every=STEPS besides"),
        (dict(label_smoothing=1.5), "config.label_smoothing is 1.5; expected at least 0 and under 1"),
    ],
)
def test_numbers_that_no_run_can_have(changes, message):
    with pytest.raises(UserError) as raised:
        check_settings(config_with(**changes))
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "preset, found, message",
    [
        ("omniglot", "rotate", "is 'rotate'; expected one of none, geometric, rotated, invented"),
        ("omniglot", "none", "is 'none' with the stages pairs; expected them to fit"),
        ("omniglot,augmentation=none", "invented", "is 'invented' with the stages classify"),
        ("folder", "invented", "is 'invented'; expected one of none, geometric"),
    ],
)
def test_an_augmentation_that_the_stages_do_not_make(preset, found, message):
    config = config_with(preset, data__augmentation=found)
    config.data.dir = "somewhere"
    with pytest.raises(UserError, match=message):
        check_settings(config)


@pytest.mark.parametrize(
    "preset, message",
    [
        ("folder", "config.data.dir is empty; expected --config.data.dir=PATH of the folder data"),
        ("omniglot", "config.data.dir is empty; expected --config.data.dir=PATH of the omniglot data"),
        ("tfds", "config.data.dataset is empty; expected --config.data.dataset=NAME as TFDS spells it"),
    ],
)
def test_data_without_a_place(preset, message):
    with pytest.raises(UserError, match=message):
        check_settings(config_with(preset))


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(evaluation__queries=9), "at most 4 examples a class; expected 5 classes with 1 \\+ 9 examples"),
        (dict(evaluation__ways=60), "of 49 classes.*expected 60 classes"),
        (dict(stages__classify__steps=0), "found no training stage"),
        (dict(stages__classify__trainable="petals/.*"), "matches no parameter"),
        (dict(head__view="petals"), "unknown view 'petals'"),
        (dict(evaluation__heads=("nosuch",)), "unknown head of a reader 'nosuch'"),
        (
            dict(evaluation__heads=("mean", "mutual")),
            "heads are mean, mutual; expected one for the parts too: aligned; aligned by length; ",
        ),
        (dict(data__images=(4, 2)), "images is .4, 2.; expected train, validation and test"),
        (dict(data__size=64, model__backbone__patch=8), "covers 1.. cells of the 8x8 grid; expected at least 4"),
        (dict(data__size=18), "18x18; expected sides that are multiples of the patch, 4"),
        (dict(data__size=20, evaluation__dense=2), "5x5 cannot be halved"),
    ],
)
def test_a_task_that_would_fail_later(changes, message):
    with pytest.raises(UserError, match=message):
        check_task(fewshot.make(config_with(**changes)))


def test_leaves_are_found_in_config_dicts():
    paths = dict(leaves(config_with()))
    assert paths["data.size"] == 16 and paths["stages.classify.optimizer.name"] == "muon"
