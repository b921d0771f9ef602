"""The loss terms a classifier may be trained with: each reads what a step has seen and gives one number."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from partrep import UserError, lookup
from partrep.data import transforms
from partrep.data.transforms import Warp
from partrep.explain.contributions import level
from partrep.losses.assigned import assignment_agreement, class_usage, decisiveness, query_diversity
from partrep.losses.classification import softmax_cross_entropy
from partrep.losses.disentanglement import code_decorrelation, dip_i, gaussian_kl, total_correlation
from partrep.losses.equivariance import equivariance
from partrep.losses.exclusive import alignment, tanh_presence
from partrep.losses.occurrence import beta_quantiles, occurrence, smoothed_occurrence
from partrep.losses.presence import background_presence
from partrep.losses.prototypes import class_orthonormality, cluster, separation, wrong_class_l1
from partrep.losses.recombination import recombination
from partrep.losses.reconstruction import reconstruction
from partrep.models.outputs import PartOutputs
from partrep.models.part_model import PartModel
from partrep.parts.assigned import in_groups, one_region_each
from partrep.parts.prototypes import SIMILARITIES, Prototypes
from partrep.parts.queries import class_tied
from partrep.tasks.classify_groups import labels_of
from partrep.tasks.classify_push import CERTAIN
from partrep.tasks.part_terms import PART_TERMS
from partrep.train.stages import Terms
from partrep.train.state import Tree


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a step has seen.

    Attributes:
        config: of the run.
        params, model_state: of the model, as the step found them.
        outputs: of the images.
        target: f32 [B,C], the classes as distributions.
        label: i32 [B].
        image: f32 [B,H,W,C]; None where the step reads features.
        other: outputs of the second view; None without one.
        warp: that the second view is under; None where it has the same geometry.
        pasted: f32 [B,h,w], 1 where the second view shows the image before it in the batch; None where it does not.
        model: that made the outputs.
        group: i32 [B], which of the groups found without labels an image is of; None where there are none.
    """

    config: Mapping[str, Any]
    params: Tree
    model_state: Tree
    outputs: PartOutputs
    target: jax.Array
    label: jax.Array
    image: jax.Array | None = None
    other: PartOutputs | None = None
    warp: Warp | None = None
    pasted: jax.Array | None = None
    model: PartModel | None = None
    group: jax.Array | None = None

    @property
    def proposed(self) -> PartOutputs:
        """The outputs with the parts as they were before a read-out in isolation made their masks hard.

        Terms that shape the maps need them: a hard mask without a cell has no mass to divide by.
        """
        return as_proposed(self.outputs)

    @property
    def certain(self) -> jax.Array:
        """f32 [B]: how far what an image shows names its class; a bird without parts is of no class in particular."""
        return jnp.take_along_axis(self.target, self.label[:, None], 1)[:, 0]

    @property
    def prototype_classes(self) -> jax.Array:
        """i32 [P]: the class of each prototype."""
        return class_tied(self.target.shape[1], self.config["model"]["method"]["per_class"])

    @property
    def prototype_distances(self) -> jax.Array:
        """f32 [B,P]: how far each prototype is from the patch that is most like it."""
        similarity = self.config["model"]["method"].get("similarity", Prototypes.similarity)
        return SIMILARITIES[similarity].distance(self.proposed.parts.similarity)

    @property
    def kept(self) -> jax.Array:
        """f32 [P]: 1 for prototypes that were not removed."""
        return self.model_state["prune"]["method"]["kept"]

    def second(self, term: str) -> PartOutputs:
        """The outputs of the second view, which `term` needs."""
        if self.other is None:
            raise UserError(f"loss term {term!r} needs a second view; expected config.view to name one")
        return self.other


def as_proposed(outputs: PartOutputs) -> PartOutputs:
    """The outputs with the proposed parts, where there are some, in place of those that were read in isolation."""
    return outputs if outputs.proposal is None else dataclasses.replace(outputs, parts=outputs.proposal)


def _proposal(seen: Seen) -> jax.Array:
    if seen.outputs.proposal_logits is None:
        raise UserError("loss term 'proposal' needs config.model.proposal_head; found none")
    return softmax_cross_entropy(seen.outputs.proposal_logits, seen.target).mean()


def _border(seen: Seen) -> jax.Array:
    """Cross entropy with the class of what the border, with the bias, says by itself.

    Trained to say all that it can, it leaves the others what it cannot say: a product of experts (Clark et al. 2019,
    arXiv 1909.03683, "bias product"), whose expert is a part of the model.
    """
    outputs, bordered = seen.outputs, seen.config["model"]["method"].get("border")
    additive = seen.model is not None and level(seen.model)
    if not (bordered and additive) or outputs.contributions is None or outputs.logits is None:
        raise UserError("loss term 'border' needs config.model.method.border and additive parts; found none")
    bias = outputs.logits - outputs.contributions.sum(1)
    return softmax_cross_entropy(bias + outputs.contributions[:, -1], seen.target).mean()


def _cluster(seen: Seen) -> jax.Array:
    return (seen.certain * cluster(seen.prototype_distances, seen.prototype_classes, seen.label, seen.kept)).mean()


def _separation(seen: Seen) -> jax.Array:
    return (seen.certain * separation(seen.prototype_distances, seen.prototype_classes, seen.label, seen.kept)).mean()


def _occurrence(seen: Seen) -> jax.Array:
    found = smoothed_occurrence(seen.proposed.parts.assignment)
    alpha, beta = seen.config["occurrence_prior"]
    return occurrence(found, jnp.asarray(beta_quantiles(alpha, beta, found.shape[0])))


def _alignment(seen: Seen) -> jax.Array:
    other = as_proposed(seen.second("alignment")).parts.assignment
    if seen.warp is not None or seen.pasted is not None:
        raise UserError("loss term 'alignment' needs the view 'relit'; found one of another geometry")
    return alignment(seen.proposed.parts.assignment, other).mean()


def _equivariance(seen: Seen) -> jax.Array:
    """The maps of the warped image against the warped maps of the image, where the warp stays inside."""
    other, moved = as_proposed(seen.second("equivariance")).parts.assignment, seen.warp
    if moved is None:
        raise UserError("loss term 'equivariance' needs the view 'warped'; found one of the same geometry")
    maps = jnp.moveaxis(seen.proposed.parts.assignment, 1, -1)
    returned = jnp.moveaxis(transforms.apply_to_images(moved, maps), -1, 1)
    source = transforms.source_grid(moved, *other.shape[2:])
    inside = jnp.all((source >= 0) & (source <= 1), axis=-1)
    return equivariance(other, returned, inside).mean()


def _reconstruction(seen: Seen) -> jax.Array:
    if seen.outputs.reconstruction is None or seen.image is None:
        raise UserError("loss term 'reconstruction' needs config.model.decoder and pixels; found none")
    return reconstruction(seen.image, seen.outputs.reconstruction.image).mean()


def _recombination(seen: Seen) -> jax.Array:
    """The logits of a cut-and-paste of two images against what their cells contribute to their own."""
    other, pasted = seen.second("recombination"), seen.pasted
    if pasted is None or seen.model is None or seen.image is None:  # kept features have other neighbours in a batch
        raise UserError("loss term 'recombination' needs the view 'recombined' and pixels; found another")
    if pasted.shape[1:] != seen.outputs.features.shape[1:3]:
        side = seen.outputs.features.shape[1]
        raise UserError(f"config.view.cells is {pasted.shape[1]}; expected {side}, the side of the feature map")
    apply = functools.partial(seen.model.apply, {"params": seen.params, **seen.model_state})

    def logits_of_cells(cells: jax.Array, outputs: PartOutputs) -> jax.Array:
        vectors = apply(outputs.features * cells[..., None], outputs.parts, method=PartModel.read_out)
        return jnp.asarray(apply(vectors, outputs.parts.presence, method=PartModel.classify))

    before = jax.tree.map(lambda x: jnp.roll(x, 1, axis=0), seen.outputs)
    everywhere = jnp.ones_like(pasted)
    whole = logits_of_cells(everywhere, other)
    kept, given = logits_of_cells(1 - pasted, seen.outputs), logits_of_cells(pasted, before)
    return recombination(whole, kept + given - logits_of_cells(0 * everywhere, seen.outputs))


def _posterior(seen: Seen, term: str):
    if seen.outputs.posterior is None:
        raise UserError(f"loss term {term!r} needs the bottleneck 'disentangled'; found another")
    return seen.outputs.posterior


def _gaussian_kl(seen: Seen) -> jax.Array:
    found = _posterior(seen, "gaussian_kl")
    return gaussian_kl(found.mean, found.log_variance).mean()


def _total_correlation(seen: Seen) -> jax.Array:
    found = _posterior(seen, "total_correlation")
    return total_correlation(seen.outputs.codes, found.mean, found.log_variance)


def _assignment_agreement(seen: Seen) -> jax.Array:
    """Of the parts of all classes, or of those of the image's own class or group alone.

    Those are assigned here once more: of the assignment of all parts nothing else is read in training, and XLA then
    leaves that out, which is G times the work. An image that shows little of its class has no parts of it to place.
    """
    parts, labels = seen.proposed.parts, labels_of(seen.config)
    if labels == "shared":
        return assignment_agreement(parts.similarity, parts.assignment).mean()
    owner = seen.label if labels == "class" else seen.group
    if owner is None:
        raise UserError("loss term 'assignment_agreement' needs the groups of images; expected a given backbone")
    grouped = in_groups(parts.similarity, seen.config["model"]["method"]["groups"])
    own = jnp.take_along_axis(grouped, owner[:, None, None, None, None], axis=1)[:, 0]
    shows = seen.certain > CERTAIN if labels == "class" else jnp.ones(owner.shape, bool)
    where = jnp.broadcast_to(shows[:, None], own.shape[:2])
    return assignment_agreement(own, one_region_each(own), where=where).mean()


def _background_presence(seen: Seen) -> jax.Array:
    background = seen.proposed.parts.background
    if background is None:
        raise UserError("loss term 'background_presence' needs a part method with a background; found none")
    return background_presence(background).mean()


def _tanh_presence(seen: Seen) -> jax.Array:
    scores = seen.proposed.parts.scores
    if scores is None:
        raise UserError("loss term 'tanh_presence' needs a part method with scores; found none")
    return tanh_presence(scores)


def _of_outputs(term: Callable[[PartOutputs], jax.Array], seen: Seen) -> jax.Array:
    return term(seen.proposed)


TERMS: dict[str, Callable[[Seen], jax.Array]] = {
    **{name: functools.partial(_of_outputs, term) for name, term in PART_TERMS.items()},
    "alignment": _alignment,
    "assignment_agreement": _assignment_agreement,
    "background_presence": _background_presence,
    "border": _border,
    "class_orthonormality": lambda seen: class_orthonormality(
        seen.params["method"]["prototypes"], seen.config["model"]["method"]["per_class"]
    ),
    "class_usage": lambda seen: class_usage(seen.params["head"]["kernel"]),
    "cluster": _cluster,
    "code_decorrelation": lambda seen: code_decorrelation(seen.outputs.codes),
    "decisiveness": lambda seen: decisiveness(seen.proposed.parts.similarity).mean(),
    "dip": lambda seen: dip_i(_posterior(seen, "dip").mean),
    "equivariance": _equivariance,
    "gaussian_kl": _gaussian_kl,
    "occurrence": _occurrence,
    "proposal": _proposal,
    "query_diversity": lambda seen: query_diversity(seen.params["method"]["queries"]),
    "recombination": _recombination,
    "reconstruction": _reconstruction,
    "separation": _separation,
    "tanh_presence": _tanh_presence,
    "total_correlation": _total_correlation,
    "wrong_class_l1": lambda seen: wrong_class_l1(seen.params["head"]["kernel"], seen.prototype_classes, seen.kept),
}


def terms(seen: Seen, weights: Mapping[str, float]) -> Terms:
    """The terms of `TERMS` that have a weight, with their weights."""
    return {name: (_term(name, seen), weight) for name, weight in sorted(weights.items()) if weight}


def _term(name: str, seen: Seen) -> jax.Array:
    function = lookup(TERMS, name, "loss term")
    try:
        return function(seen)
    except (KeyError, AttributeError) as error:  # no such parameter, setting or array in this model
        raise UserError(f"loss term {name!r} finds no {error} in this model; expected another model") from error
