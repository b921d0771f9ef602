"""Metrics on plain arrays: NumPy, float64; one topic a file, each importable alone."""

from __future__ import annotations

from partrep.metrics.accuracy import accuracy
from partrep.metrics.clustering import ami, ari, nmi
from partrep.metrics.intervals import (
    bootstrap_interval,
    crossed_interval,
    mean_interval,
    paired_interval,
    sign_flip_test,
)
from partrep.metrics.keypoints import keypoint_error
from partrep.metrics.reconstruction import psnr
from partrep.metrics.segments import part_overlap

METRICS = {
    "accuracy": accuracy,
    "ami": ami,
    "ari": ari,
    "bootstrap_interval": bootstrap_interval,
    "crossed_interval": crossed_interval,
    "keypoint_error": keypoint_error,
    "mean_interval": mean_interval,
    "nmi": nmi,
    "paired_interval": paired_interval,
    "part_overlap": part_overlap,
    "psnr": psnr,
    "sign_flip_test": sign_flip_test,
}
