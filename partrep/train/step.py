"""One training step as one jitted function, which also watches for values that are not finite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from partrep import UserError
from partrep.train import sharding
from partrep.train.optimizer import Optimizer, make_optimizer, make_schedule, match, merge, partition, paths
from partrep.train.settings import from_mapping
from partrep.train.stages import Aux, Stage, start_step, step_key
from partrep.train.state import TrainState, Tree, describe, ema_decay, flatten, update_ema

Step = Callable[[TrainState, Tree], tuple[TrainState, dict[str, Any]]]


class TrainingDiverged(UserError):
    """A loss term, a gradient or an update is not finite; the message names the step and which."""


def stage_optimizer(stages: Sequence[Stage], index: int, params: Tree) -> tuple[optax.GradientTransformation, Tree]:
    """Returns a stage's optax transform, over its trainable parameters alone, and their mask."""
    stage = stages[index]
    mask = match(params, stage.trainable)
    moving, _ = partition(params, mask)
    return make_optimizer(stage.optimizer, moving, stage.until_step - start_step(stages, index)), mask


def enter(stages: Sequence[Stage], index: int, state: TrainState) -> TrainState:
    """Returns the state at the start of a stage: its optimiser and loss state are made anew."""
    stage = stages[index]
    transform, mask = stage_optimizer(stages, index, state.params)
    moving, _ = partition(state.params, mask)
    loss_state = state.loss_state if stage.init_loss_state is None else stage.init_loss_state(state)
    return state.replace(stage=jnp.int32(index), opt_state=transform.init(moving), loss_state=loss_state)


def weigh(stage: Stage, params: Tree, state: TrainState, batch: Tree, key: jax.Array) -> tuple[dict, dict, Aux]:
    """Returns a stage's loss as (values, values times weights) by term, float32 scalars, and the rest."""
    terms, aux = stage.loss(params, state.model_state, state.loss_state, batch, key)
    for name, (value, _) in terms.items():
        if jnp.ndim(value):
            raise ValueError(f"loss term {name!r} has shape {jnp.shape(value)}; expected a scalar")
    values = {name: jnp.asarray(value, jnp.float32) for name, (value, _) in terms.items()}
    weighted = {name: values[name] * jnp.asarray(weight, jnp.float32) for name, (_, weight) in terms.items()}
    return values, weighted, aux


def all_finite(tree: Tree) -> jax.Array:
    """Whether every float of a tree is finite."""
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in floats]))


def check_kept(old: TrainState, new: TrainState) -> None:
    """Raises a `ValueError` where a step would change the structure, a shape or a type of the state."""
    before, after = ({name: describe(jnp.asarray(leaf)) for name, leaf in flatten(tree).items()} for tree in (old, new))
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            raise ValueError(f"the loss changed {name} from {before.get(name)} to {after.get(name)}")


def commit(old: TrainState, new: TrainState, fine: jax.Array) -> TrainState:
    """Returns the new state, or, from the first bad step on, the old one with that step and term recorded.

    `fine [terms + 2]` tells of each weighted term, in sorted order, of the gradient and of the update.
    """
    bad = ~jnp.all(fine)
    first = bad & (old.bad_step < 0)
    go_on = ~bad & (old.bad_step < 0)
    state = jax.tree.map(lambda before, after: jnp.where(go_on, after, before), old, new)
    return state.replace(
        bad_step=jnp.where(first, old.step, old.bad_step),
        bad_term=jnp.where(first, jnp.argmin(fine).astype(jnp.int32), old.bad_term),
    )


def make_step(stages: Sequence[Stage], index: int, params: Tree, seed: int, ema: float) -> Step:
    """Returns the jitted step of a stage, `(state, global batch) -> (state, report)`; it donates the state.

    The report is {"terms": {name: value}, "numbers": {name: value}, "bad_step", "bad_term"}, on the device.
    """
    stage = stages[index]
    start = start_step(stages, index)
    transform, mask = stage_optimizer(stages, index, params)
    rate = make_schedule(from_mapping(Optimizer, stage.optimizer), stage.until_step - start)

    def step(state: TrainState, batch: Tree) -> tuple[TrainState, dict[str, Any]]:
        moving, frozen = partition(state.params, mask)
        key = step_key(seed, state.step)

        def objective(moving: Tree) -> tuple[jax.Array, tuple]:
            values, weighted, aux = weigh(stage, merge(moving, frozen), state, batch, key)
            return sum(weighted.values(), jnp.float32(0)), (values, weighted, aux)

        (loss, (values, weighted, aux)), gradient = jax.value_and_grad(objective, has_aux=True)(moving)
        updates, opt_state = transform.update(gradient, state.opt_state, moving)
        params = merge(optax.apply_updates(moving, updates), frozen)
        new = state.replace(
            step=state.step + 1,
            params=params if stage.project is None else stage.project(params),
            model_state=aux.model_state,
            opt_state=opt_state,
            loss_state=aux.loss_state,
        )
        if ema:
            new = new.replace(ema=update_ema(state.ema, new.params, new.model_state, ema_decay(ema, state.step)))
        check_kept(state, new)
        norm = optax.tree.norm(gradient)
        fine = [jnp.isfinite(weighted[name]) for name in sorted(weighted)]
        fine += [jnp.isfinite(norm), all_finite((new.params, new.model_state))]
        new = commit(state, new, jnp.stack(fine))
        numbers = {
            "loss": loss,
            "gradient_norm": norm,
            "learning_rate": rate(state.step - start),
            **aux.metrics,
        }
        return new, {"terms": values, "numbers": numbers, "bad_step": new.bad_step, "bad_term": new.bad_term}

    return sharding.jit_step(step)


def explain(stages: Sequence[Stage], state: TrainState, terms: Sequence[str], seed: int) -> str:
    """Returns one line on why the run stopped: the step, the term, and the parameters with bad gradients.

    The state was kept as it was before the bad step, so that the step can be looked at again.
    """
    stage, at = stages[int(state.stage)], int(state.bad_step)
    culprit = [*terms, "gradient", "update"][int(state.bad_term)]
    head = f"training diverged at step {at + 1} (stage {stage.name}, batch {at}): "
    if culprit in terms:
        return f"{head}the loss term {culprit!r} is not finite"
    if culprit == "update":
        return f"{head}the update made parameters or batch statistics that are not finite; try a lower rate"
    bad = bad_gradients(stages, state, terms, seed)
    return f"{head}the gradient {bad or 'is not finite (its norm overflows)'}"


def bad_gradients(stages: Sequence[Stage], state: TrainState, terms: Sequence[str], seed: int) -> str:
    """Says which term's gradient is not finite at which parameters; empty where each is finite by itself."""
    stage, at = stages[int(state.stage)], int(state.bad_step)
    _, mask = stage_optimizer(stages, int(state.stage), state.params)
    moving, frozen = partition(state.params, mask)
    batch = sharding.put_batch(stage.batches[at])

    def term(moving: Tree, name: str) -> jax.Array:
        return weigh(stage, merge(moving, frozen), state, batch, step_key(seed, at))[1][name]

    for name in terms:
        gradient = jax.jit(jax.grad(term), static_argnums=1)(moving, name)
        pairs = zip(jax.tree.leaves(paths(gradient)), jax.tree.leaves(gradient))
        bad = [path for path, leaf in pairs if not bool(all_finite(leaf))]
        if bad:
            more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
            return f"of the loss term {name!r} is not finite at {', '.join(bad[:3])}{more}"
    return ""
