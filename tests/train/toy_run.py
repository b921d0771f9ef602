"""A run small enough for many tests; `python toy_run.py JOB ...` does it in a process of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import signal
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import flax.linen as nn  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402

from partrep.evaluate.predict import predict  # noqa: E402
from partrep.train import loop, sharding  # noqa: E402
from partrep.train.optimizer import Optimizer  # noqa: E402
from partrep.train.stages import Aux, Stage, stream  # noqa: E402
from partrep.train.state import flatten  # noqa: E402

BATCH, WIDTH, CLASSES = 24, 8, 4
EVALUATION_SIZE, EVALUATION_BATCH = 37, 10  # neither is a multiple of 4 devices, nor one of the other


class Net(nn.Module):
    """A layer, batch normalisation, a layer."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = nn.Dense(16, use_bias=False, name="body")(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9, name="norm")(x)
        return nn.Dense(CLASSES, name="head")(nn.relu(x))


def init(key: jax.Array) -> dict:
    """The variables of the net."""
    return Net().init(key, jnp.zeros((1, WIDTH)), False)


def examples(seed: int, size: int) -> dict[str, np.ndarray]:
    """Random vectors labelled by their largest entry."""
    x = np.random.default_rng(seed).normal(size=(size, WIDTH)).astype(np.float32)
    return {"x": x, "label": x[:, :CLASSES].argmax(1).astype(np.int32)}


@dataclasses.dataclass(frozen=True)
class Batches:
    """Batch t is a function of t; each process reads its slice."""

    size: int = BATCH

    def __getitem__(self, t: int) -> dict[str, np.ndarray]:
        part = self.size // sharding.process_count()
        start = sharding.process_index() * part
        return {name: array[start : start + part] for name, array in examples(t, self.size).items()}


def loss(params, model_state, loss_state, batch, key):
    """Cross-entropy on noisy vectors, a penalty of the logits, and a count of examples as memory."""
    x = batch["x"] + 0.05 * jax.random.normal(stream(key, "noise"), batch["x"].shape)
    logits, model_state = Net().apply({"params": params, **model_state}, x, True, mutable=["batch_stats"])
    each = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
    terms = {"cross_entropy": (each.mean(), 1.0), "size": (jnp.square(logits).mean(), 0.01)}
    memory = {"seen": loss_state["seen"] + len(each)}
    return terms, Aux(model_state, memory, {"accuracy": (logits.argmax(-1) == batch["label"]).mean()})


def memory(state) -> dict:
    """The loss state at the start of a stage."""
    return {"seen": jnp.zeros((), jnp.int32)}


def halve_head(state):
    """What the first stage does at its end: a change on the host."""
    head = jax.tree.map(lambda leaf: np.asarray(leaf) * 0.5, state.params["head"])
    return state.replace(params={**state.params, "head": head})


def stages(steps: int, at_end=halve_head) -> list[Stage]:
    """SGD on the head for half of the steps, then AdamW on everything."""
    return [
        Stage(
            "head",
            steps // 2,
            loss,
            Batches(),
            Optimizer("sgd", 0.1),
            "head/.*",
            at_end=at_end,
            init_loss_state=memory,
        ),
        Stage("all", steps, loss, Batches(), Optimizer("adamw", 3e-3, weight_decay=0.1, clip=1.0)),
    ]


def apply(variables, batch):
    """The logits and class of each example."""
    logits = Net().apply(variables, batch["x"], False)
    return {"logits": logits, "label": logits.argmax(-1)}


def evaluation_batches():
    """Padded batches of the evaluation set, this process's slices."""
    data, part = examples(10_000, EVALUATION_SIZE), EVALUATION_BATCH // sharding.process_count()
    for start in range(0, EVALUATION_SIZE, EVALUATION_BATCH):
        where = start + sharding.process_index() * part + np.arange(part)
        rows = np.minimum(where, EVALUATION_SIZE - 1)
        yield {"x": data["x"][rows], "valid": where < EVALUATION_SIZE}


def validate(state) -> dict[str, float]:
    """The accuracy on the evaluation set."""
    outputs = predict(apply, state.eval_variables, evaluation_batches())
    return {"val/accuracy": float(np.mean(outputs["label"] == examples(10_000, EVALUATION_SIZE)["label"]))}


SETTINGS = {"log_every": 1, "checkpoint_every": 4, "ema": 0.9, "best": "val/accuracy", "keep": 3}


def run(workdir, steps: int = 20, at_end=halve_head, hooks=(), on_checkpoint=(), **changes):
    """Trains the toy; returns the state."""
    every = (loop.Every(5, validate), *hooks)
    return loop.fit(
        stages(steps, at_end),
        init,
        SETTINGS | changes,
        workdir,
        loop.Hooks(every, on_checkpoint=on_checkpoint),
    )


def dump(state, path: pathlib.Path) -> None:
    """Writes every array of a state, and the outputs on the evaluation set."""
    outputs = predict(apply, state.eval_variables, evaluation_batches())
    if sharding.is_writer():
        arrays = {name: np.asarray(leaf) for name, leaf in flatten(state).items()}
        np.savez(path, **arrays, **{f"outputs/{name}": array for name, array in outputs.items()})


def metrics(workdir: pathlib.Path) -> list[dict]:
    """The lines of metrics.jsonl without the one value that is of the clock."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def die(*_) -> None:
    """Ends this process as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


def job_kill(workdir: str, output: str, where: str, when: str) -> None:
    """Trains, and is killed after `when` steps of this process, at the end of a stage, or while it saves."""
    step = 0

    def count(state) -> None:
        nonlocal step
        step += 1
        if where == "step" and step == int(when):
            die()

    state = run(
        pathlib.Path(workdir),
        at_end=die if where == "at_end" else halve_head,
        hooks=[loop.Every(1, count)],
        on_checkpoint=[die] if where == "saving" else [],
    )
    dump(state, pathlib.Path(output))


def job_devices(workdir: str, output: str, single: str) -> None:
    """Trains on these devices; goes on from a checkpoint of one device; meets a bad batch size."""
    folder = pathlib.Path(workdir)
    dump(run(folder), pathlib.Path(output))
    dump(run(pathlib.Path(single)), pathlib.Path(output).with_suffix(".single.npz"))
    try:
        loop.fit([dataclasses.replace(stages(2)[0], batches=Batches(22))], init)
    except Exception as error:
        print(f"{type(error).__name__}: {error}")


def job_process(workdir: str, output: str, port: str, index: str) -> None:
    """One of two processes: trains, meets a damaged checkpoint, and goes on from the one before."""
    sharding.initialize_distributed(f"localhost:{port}", 2, int(index))
    folder = pathlib.Path(workdir)
    dump(run(folder), pathlib.Path(output))
    if sharding.is_writer():
        file = max((folder / "checkpoints" / "20").rglob("*"), key=lambda path: path.stat().st_size * path.is_file())
        file.write_bytes(file.read_bytes()[:-1])
    assert sharding.everywhere(True)
    dump(run(folder), pathlib.Path(output).with_suffix(".again.npz"))


if __name__ == "__main__":
    {"kill": job_kill, "devices": job_devices, "process": job_process}[sys.argv[1]](*sys.argv[2:])
