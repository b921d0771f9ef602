"""Explanations after the fact of any differentiable image classifier: which pixels a class logit rests on.

Every method of `EXPLANATIONS` is `method(model, images, target, **settings) -> f32 [B,h,w]`, a pure function
that can be jitted, at its own resolution (`maps.upsample` and `maps.spread` bring it to the image's); `model`
is an `Explained`, and what is explained is the logit of class `target`. Exact contributions of part models
need none of these.
"""

from __future__ import annotations

from partrep.explain.auditing import Audit, audit
from partrep.explain.cam import cam, grad_cam, grad_cam_plus_plus, hires_cam, layer_cam, opti_cam, score_cam
from partrep.explain.gradients import input_gradient, integrated_gradients, saliency, smooth_grad
from partrep.explain.model import Explained
from partrep.explain.occlusion import occlusion
from partrep.explain.shapley import shapley_map

__all__ = ["EXPLANATIONS", "Audit", "Explained", "audit"]

EXPLANATIONS = {
    "cam": cam,
    "grad_cam": grad_cam,
    "grad_cam_plus_plus": grad_cam_plus_plus,
    "hires_cam": hires_cam,
    "input_gradient": input_gradient,
    "integrated_gradients": integrated_gradients,
    "layer_cam": layer_cam,
    "occlusion": occlusion,
    "opti_cam": opti_cam,
    "saliency": saliency,
    "score_cam": score_cam,
    "shapley_map": shapley_map,
    "smooth_grad": smooth_grad,
}
