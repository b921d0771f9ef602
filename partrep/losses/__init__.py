"""Losses: plain arrays in; per example [B], per batch (scalar, with `where` [B]) or per parameter (scalar).

Batch losses are over the global batch: under `jit` with sharded arrays they need no axis name. Values are
float32."""

from partrep.losses.assigned import assignment_agreement, class_usage, decisiveness, query_diversity
from partrep.losses.average_precision import histogram_ap, smooth_ap
from partrep.losses.binary import bit_balance, bit_decorrelation, quantisation
from partrep.losses.circle import circle
from partrep.losses.classification import softmax_cross_entropy
from partrep.losses.concentration import concentration, spread
from partrep.losses.contrastive import contrastive, nt_xent, supervised_contrastive
from partrep.losses.disentanglement import (
    code_decorrelation,
    dip_i,
    dip_ii,
    gaussian_kl,
    part_decorrelation,
    total_correlation,
)
from partrep.losses.entropy import assignment_entropy
from partrep.losses.equivariance import equivariance
from partrep.losses.exclusive import alignment, tanh_presence
from partrep.losses.group_dro import group_dro
from partrep.losses.margin_softmax import arcface, cosface, normalised_softmax
from partrep.losses.multi_similarity import multi_similarity
from partrep.losses.occurrence import occurrence
from partrep.losses.orthogonality import map_decorrelation, orthogonality
from partrep.losses.pairs import aligned_cosine, cosine, euclidean_similarity
from partrep.losses.presence import background_presence, presence
from partrep.losses.prototypes import class_orthonormality, cluster, separation, wrong_class_l1
from partrep.losses.proxies import centre_spread, proxy_anchor, proxy_nca, soft_triple
from partrep.losses.reciprocal_points import reciprocal_points
from partrep.losses.recombination import recombination
from partrep.losses.reconstruction import reconstruction
from partrep.losses.superfeatures import superfeature_contrastive
from partrep.losses.total_variation import total_variation
from partrep.losses.triplet import triplet

LOSSES = {
    "alignment": alignment,
    "arcface": arcface,
    "assignment_agreement": assignment_agreement,
    "assignment_entropy": assignment_entropy,
    "background_presence": background_presence,
    "bit_balance": bit_balance,
    "bit_decorrelation": bit_decorrelation,
    "centre_spread": centre_spread,
    "circle": circle,
    "class_orthonormality": class_orthonormality,
    "class_usage": class_usage,
    "cluster": cluster,
    "code_decorrelation": code_decorrelation,
    "concentration": concentration,
    "contrastive": contrastive,
    "cosface": cosface,
    "decisiveness": decisiveness,
    "dip_i": dip_i,
    "dip_ii": dip_ii,
    "equivariance": equivariance,
    "gaussian_kl": gaussian_kl,
    "group_dro": group_dro,
    "histogram_ap": histogram_ap,
    "map_decorrelation": map_decorrelation,
    "multi_similarity": multi_similarity,
    "normalised_softmax": normalised_softmax,
    "nt_xent": nt_xent,
    "occurrence": occurrence,
    "orthogonality": orthogonality,
    "part_decorrelation": part_decorrelation,
    "presence": presence,
    "proxy_anchor": proxy_anchor,
    "proxy_nca": proxy_nca,
    "quantisation": quantisation,
    "query_diversity": query_diversity,
    "reciprocal_points": reciprocal_points,
    "recombination": recombination,
    "reconstruction": reconstruction,
    "separation": separation,
    "smooth_ap": smooth_ap,
    "soft_triple": soft_triple,
    "softmax_cross_entropy": softmax_cross_entropy,
    "spread": spread,
    "superfeature_contrastive": superfeature_contrastive,
    "supervised_contrastive": supervised_contrastive,
    "tanh_presence": tanh_presence,
    "total_correlation": total_correlation,
    "total_variation": total_variation,
    "triplet": triplet,
    "wrong_class_l1": wrong_class_l1,
}

SIMILARITIES = {
    "aligned_cosine": aligned_cosine,
    "cosine": cosine,
    "euclidean_similarity": euclidean_similarity,
}
