"""The training state: one frozen pytree that a checkpoint holds whole."""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

Tree = Any


class TrainState(flax.struct.PyTreeNode):
    """Everything a step reads and writes; `step` counts the finished steps, so the next batch is `step`."""

    step: jax.Array  # i32
    stage: jax.Array  # i32, index of the running stage
    params: Tree
    model_state: Tree  # the other variable collections, e.g. {"batch_stats": ...}
    opt_state: Tree
    loss_state: Tree
    ema: Tree  # {"params", "model_state"} averaged, or None
    best_metric: jax.Array  # f32, nan before the first validation
    best_step: jax.Array  # i32, -1 before the first validation
    bad_step: jax.Array  # i32, the first step with a value that is not finite; -1 while there is none
    bad_term: jax.Array  # i32, index into sorted(terms) + ["gradient", "update"]

    @property
    def variables(self) -> dict[str, Tree]:
        """The model's variables as trained."""
        return {"params": self.params, **self.model_state}

    @property
    def eval_variables(self) -> dict[str, Tree]:
        """The averaged variables where an average is kept, else the variables as trained."""
        if self.ema is None:
            return self.variables
        return {"params": self.ema["params"], **self.ema["model_state"]}


def begin(variables: dict[str, Tree], ema: bool) -> TrainState:
    """Returns the state at step 0 of the first stage, before its optimiser and loss state are made."""
    # Copied, because a step donates its state and must not take the caller's arrays with it.
    params, model_state = jax.tree.map(jnp.copy, split_variables(variables))
    average = jax.tree.map(jnp.copy, {"params": params, "model_state": model_state}) if ema else None
    return TrainState(
        step=jnp.int32(0),
        stage=jnp.int32(0),
        params=params,
        model_state=model_state,
        opt_state=(),
        loss_state={},
        ema=average,
        best_metric=jnp.float32(jnp.nan),
        best_step=jnp.int32(-1),
        bad_step=jnp.int32(-1),
        bad_term=jnp.int32(-1),
    )


def split_variables(variables: dict[str, Tree]) -> tuple[Tree, dict[str, Tree]]:
    """Returns (params, the other collections)."""
    return variables["params"], {name: value for name, value in variables.items() if name != "params"}


def ema_decay(decay: float, step: jax.Array) -> jax.Array:
    """The decay after `step` finished steps: min(decay, (1 + step) / (10 + step)), a warm-up.

    >>> float(ema_decay(0.99, 0)), round(float(ema_decay(0.99, 10_000)), 4)
    (0.10000000149011612, 0.99)
    """
    step = jnp.asarray(step, jnp.float32)
    return jnp.minimum(jnp.float32(decay), (1 + step) / (10 + step))


def update_ema(average: Tree, params: Tree, model_state: Tree, decay: jax.Array) -> Tree:
    """Moves the average towards the new values by 1 - decay; leaves that are not floats are copied."""

    def move(old: jax.Array, new: jax.Array) -> jax.Array:
        if not jnp.issubdtype(new.dtype, jnp.floating):
            return new
        return decay * old + (1 - decay) * new

    return jax.tree.map(move, average, {"params": params, "model_state": model_state})


def flatten(tree: Tree) -> dict[str, Any]:
    """Returns the leaves by '/'-joined path, in the order of `jax.tree.leaves`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def describe(leaf: Any) -> str:
    """The type and shape of an array.

    >>> describe(jax.ShapeDtypeStruct((3, 4), jnp.float32))
    'float32[3,4]'
    """
    return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"
