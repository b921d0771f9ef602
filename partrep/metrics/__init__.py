"""Metrics on plain arrays: NumPy, float64; one topic a file, each importable alone."""

from __future__ import annotations

from partrep.metrics.accuracy import accuracy
from partrep.metrics.bits import bits_per_part, dead_bits, joint_bits_per_part
from partrep.metrics.calibration import brier, expected_calibration_error, negative_log_likelihood
from partrep.metrics.clustering import ami, ari, nmi
from partrep.metrics.disentanglement import (
    dci,
    factor_vae_score,
    modularity,
    mutual_information_gap,
    part_dci,
    sap,
)
from partrep.metrics.faithfulness import (
    average_drop,
    average_gain,
    average_increase,
    curve_area,
    energy_inside,
    insertion_deletion,
    mask_iou,
    mask_relevance,
    pointing_game,
    threshold_iou,
)
from partrep.metrics.intervals import (
    bootstrap_interval,
    crossed_interval,
    mean_interval,
    paired_interval,
    share_interval,
    sign_flip_test,
)
from partrep.metrics.keypoints import keypoint_error
from partrep.metrics.openset import aupr, auroc, fpr_at_tpr, known_threshold, macro_f1, openness, oscr
from partrep.metrics.parts import (
    assignment_entropy,
    duplicate_parts,
    occurrence_distance,
    occurrence_histogram,
    part_area,
    part_iou,
)
from partrep.metrics.prototypes import consistency, purity, stability
from partrep.metrics.rank import kendall, spearman
from partrep.metrics.reconstruction import linear_reconstruction, psnr
from partrep.metrics.reliance import reliance
from partrep.metrics.retrieval import retrieval_scores, retrieval_values
from partrep.metrics.revisited import revisited_scores, revisited_values
from partrep.metrics.segments import part_overlap
from partrep.metrics.sufficiency import accuracy_without_part, sufficiency_curve

METRICS = {
    "accuracy": accuracy,
    "accuracy_without_part": accuracy_without_part,
    "ami": ami,
    "ari": ari,
    "assignment_entropy": assignment_entropy,
    "aupr": aupr,
    "auroc": auroc,
    "average_drop": average_drop,
    "average_gain": average_gain,
    "average_increase": average_increase,
    "bits_per_part": bits_per_part,
    "brier": brier,
    "bootstrap_interval": bootstrap_interval,
    "consistency": consistency,
    "crossed_interval": crossed_interval,
    "curve_area": curve_area,
    "dci": dci,
    "dead_bits": dead_bits,
    "duplicate_parts": duplicate_parts,
    "energy_inside": energy_inside,
    "expected_calibration_error": expected_calibration_error,
    "factor_vae_score": factor_vae_score,
    "fpr_at_tpr": fpr_at_tpr,
    "insertion_deletion": insertion_deletion,
    "joint_bits_per_part": joint_bits_per_part,
    "kendall": kendall,
    "keypoint_error": keypoint_error,
    "known_threshold": known_threshold,
    "linear_reconstruction": linear_reconstruction,
    "mask_iou": mask_iou,
    "mask_relevance": mask_relevance,
    "macro_f1": macro_f1,
    "mean_interval": mean_interval,
    "modularity": modularity,
    "mutual_information_gap": mutual_information_gap,
    "negative_log_likelihood": negative_log_likelihood,
    "nmi": nmi,
    "occurrence_distance": occurrence_distance,
    "occurrence_histogram": occurrence_histogram,
    "openness": openness,
    "oscr": oscr,
    "paired_interval": paired_interval,
    "part_area": part_area,
    "part_dci": part_dci,
    "part_iou": part_iou,
    "part_overlap": part_overlap,
    "pointing_game": pointing_game,
    "purity": purity,
    "reliance": reliance,
    "retrieval_scores": retrieval_scores,
    "retrieval_values": retrieval_values,
    "revisited_scores": revisited_scores,
    "revisited_values": revisited_values,
    "sap": sap,
    "psnr": psnr,
    "share_interval": share_interval,
    "sign_flip_test": sign_flip_test,
    "spearman": spearman,
    "stability": stability,
    "sufficiency_curve": sufficiency_curve,
    "threshold_iou": threshold_iou,
}
