"""Random numbers by counting: the same everywhere, evenly spread, independent between streams and keys."""

import jax.numpy as jnp
import numpy as np

from partrep.data.birds import hashing


def test_numpy_and_jax_agree_to_the_bit():
    key = np.array([123, 456], np.uint32)
    one = hashing.uniforms(key, 3, 1000, np)
    assert np.array_equal(one, np.asarray(hashing.uniforms(jnp.asarray(key), 3, 1000, jnp)))


def test_known_values():
    got = hashing.mix(np.array([0, 1, 2], np.uint32))
    assert len(set(got.tolist())) == 3 and got[0] == 0  # 0 is a fixed point of the mixing
    x = 1
    x = (x ^ (x >> 16)) * 0x7FEB352D % 2**32
    x = (x ^ (x >> 15)) * 0x846CA68B % 2**32
    assert got[1] == x ^ (x >> 16)


def test_even_and_independent():
    keys = [np.array([9, k], np.uint32) for k in range(400)]
    u = np.stack([[hashing.uniforms(key, stream, 50, np) for stream in (0, 1)] for key in keys])
    assert u.min() > 0 and u.max() < 1
    counts = np.histogram(u, bins=20, range=(0, 1))[0]
    assert np.abs(counts / u.size * 20 - 1).max() < 0.06
    flat = u.reshape(400, -1)
    correlation = np.corrcoef(flat.T)[~np.eye(100, dtype=bool)]
    assert np.abs(correlation).max() < 0.25  # 400 draws: five standard errors


def test_mixing_is_a_bijection_on_a_range():
    assert len(np.unique(hashing.mix(np.arange(1 << 16, dtype=np.uint32)))) == 1 << 16


def test_streams_are_those_of_uniforms():
    key = np.array([3, 4], np.uint32)
    got = hashing.streams(key, {"a": (5,), "b": (2, 2), "c": ()}, np)
    assert np.array_equal(got["b"].ravel(), hashing.uniforms(key, 1, 4, np))
    assert got["c"] == hashing.uniforms(key, 2, 1, np)[0]
    more = hashing.streams(key, {"a": (6,), "b": (2, 2)}, np)
    assert np.array_equal(more["b"], got["b"])  # one more number leaves the others alone
