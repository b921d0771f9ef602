"""Losses and the push on four devices, the batch cut over them, against one device."""

import os
import subprocess
import sys

SCRIPT = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from partrep.losses import alignment, class_orthonormality, cluster, group_dro, reciprocal_points, recombination, separation, tanh_presence, wrong_class_l1
from partrep.losses import arcface, centre_spread, cosface, histogram_ap, normalised_softmax, proxy_anchor, proxy_nca, smooth_ap, soft_triple, superfeature_contrastive
from partrep.losses.reduction import mean_where
from partrep.parts import push
from partrep.losses import aligned_cosine, circle, contrastive, multi_similarity, nt_xent, supervised_contrastive, triplet

assert jax.device_count() == 4
rng = np.random.default_rng(0)
classes, ids = np.array([0, 0, 1, 1, 2]), rng.permutation(8).astype(np.int32)
batch = {
    "scores": rng.uniform(size=(8, 5)), "features": np.round(rng.uniform(size=(8, 2, 2, 3)), 1),
    "first": rng.dirichlet(np.ones(5), (8, 2, 2)), "second": rng.dirichlet(np.ones(5), (8, 2, 2)),
}
batch = {name: x.astype(np.float32) for name, x in batch.items()}
batch |= {"labels": np.arange(8, dtype=np.int32) % 3, "ids": ids, "where": np.arange(8) != 5}
params = {"kernel": rng.normal(size=(5, 3)).astype(np.float32), "prototypes": np.float32(rng.uniform(size=(5, 3)))}
params["points"] = params["kernel"].T

def losses(params, b):
    d, where, maps = b["scores"] * params["prototypes"].sum(), b["where"], [b[n].transpose(0, 3, 1, 2) for n in ("first", "second")]
    p = params["kernel"].T
    centres = jnp.stack([p, p[::-1]], axis=1)
    return {
        "cluster": mean_where(cluster(d, classes, b["labels"]), where),
        "reciprocal_points": reciprocal_points(b["scores"], params["points"], params["points"].mean(), b["labels"], where=where),
        "recombination": recombination(d, b["scores"]),
        "separation": mean_where(separation(d, classes, b["labels"]), where),
        "alignment": mean_where(alignment(*maps), where),
        "group_dro": group_dro(d.mean(1), b["labels"], np.full(3, 1 / 3, np.float32), 0.5, where)[0],
        "tanh_presence": tanh_presence(0.2 * d, where),
        "wrong_class_l1": wrong_class_l1(params["kernel"], classes),
        "normalised_softmax": mean_where(normalised_softmax(d, p, b["labels"], where=where), where),
        "cosface": mean_where(cosface(d, p, b["labels"], where=where), where),
        "arcface": mean_where(arcface(d, p, b["labels"], where=where), where),
        "proxy_nca": 2 + mean_where(proxy_nca(d, p, b["labels"], where=where), where),
        "proxy_anchor": proxy_anchor(d, p, b["labels"], where=where),
        "soft_triple": mean_where(soft_triple(d, centres, b["labels"], where=where), where),
        "centre_spread": centre_spread(centres),
        "smooth_ap": smooth_ap(params["kernel"].sum() + d, b["labels"], 0.1, where),
        "smooth_ap in blocks": smooth_ap(params["kernel"].sum() + d, b["labels"], 0.1, where, block=3),
        "histogram_ap": histogram_ap(params["kernel"].sum() + d, b["labels"], where=where),
        "histogram_ap in blocks": histogram_ap(params["kernel"].sum() + d, b["labels"], where=where, block=3),
        "superfeature_contrastive in blocks": superfeature_contrastive(b["features"].reshape(8, 4, 3) + p[0, :3], b["labels"] % 2, where=where, block=4),
        "class_orthonormality": class_orthonormality(params["prototypes"], 5),
    }

def pair_losses(params, b, block):
    options = {"labels": b["labels"] % 2, "where": b["where"], "block": block}
    x, z = b["scores"] * params["kernel"][:, 0], b["features"].reshape(8, 4, 3)
    return {
        "contrastive": contrastive(x, **options),
        "supervised_contrastive": supervised_contrastive(x, **options),
        "of parts": supervised_contrastive((z * params["kernel"][0], z[..., 0]), similarity=aligned_cosine, **options),
        "nt_xent": nt_xent(x, x[::-1], where=b["where"], block=block),
        "multi_similarity": multi_similarity(x, **options),
        "circle": circle(x, **options),
    } | {mining: triplet(x, mining=mining, **options) for mining in ("all", "semi_hard", "hard")}

def pairs(params, b):
    return [jax.value_and_grad(lambda p: (lambda found: (sum(found.values()), found))(pair_losses(p, b, n)), has_aux=True)(params) for n in (None, 3)]

def everything(params, b):
    found = push.update(push.start(5, 3), b["features"], params["prototypes"], classes, b["labels"], b["ids"], b["where"])
    near = push.update_neighbours(push.start_neighbours(5), b["features"], params["prototypes"], b["labels"], b["ids"], b["where"])
    return losses(params, b), jax.grad(lambda p: sum(losses(p, b).values()))(params), (found, near)

mesh = Mesh(np.array(jax.devices()), ("data",))
one = jax.jit(everything)(*jax.device_put((params, batch), jax.devices()[0]))
placed = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
four = jax.jit(everything)(jax.device_put(params, NamedSharding(mesh, PartitionSpec())), placed)
assert len(placed["features"].sharding.device_set) == 4
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), one[:2], four[:2])
jax.tree.map(np.testing.assert_array_equal, one[2], four[2])
values = [float(x) for x in one[0].values()]
assert min(values) > 0
one, four = jax.jit(pairs)(params, jax.device_put(batch, jax.devices()[0])), jax.jit(pairs)(params, placed)
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), (one[0], one[0]), (four[0], four[1]))
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), one[0], one[1])
assert min(float(x) for x in one[0][0][1].values()) > 0
print("same")
"""


def test_four_devices_equal_one():
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "4"}
    run = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True)
    assert run.stdout == "same\n", run.stderr
