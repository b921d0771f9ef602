"""Competition: sums, marginals, optimality, noise only with a key, gradients that stay finite."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment, linprog
from scipy.special import expit
from scipy.special import softmax as scipy_softmax

from partrep import UserError
from partrep.parts import competition

RNG = np.random.default_rng(1)
SIMILARITY = RNG.normal(size=(2, 3, 4, 5))
BACKGROUND = RNG.normal(size=(2, 4, 5))
S = jnp.asarray(SIMILARITY, jnp.float32)


def test_softmax_and_sigmoid_against_scipy():
    np.testing.assert_allclose(competition.softmax(S, 0.5), scipy_softmax(SIMILARITY / 0.5, axis=1), rtol=1e-5)
    np.testing.assert_allclose(competition.independent(S), expit(SIMILARITY), rtol=1e-5)


@pytest.mark.parametrize("background", [jnp.asarray(BACKGROUND, jnp.float32), 0.7], ids=["map", "number"])
def test_background_is_one_more_part(background):
    joined = competition.with_background(S, background)
    assignment, left = competition.split_background(competition.softmax(joined))
    plane = np.broadcast_to(background, (2, 4, 5))[:, None]
    expected = scipy_softmax(np.concatenate([SIMILARITY, plane], axis=1), axis=1)
    np.testing.assert_allclose(assignment, expected[:, :3], rtol=1e-5)
    np.testing.assert_allclose(left, expected[:, 3], rtol=1e-5)
    np.testing.assert_allclose(assignment.sum(1) + left, 1.0, rtol=1e-5)


def test_the_border_is_one_more_part_and_no_other_has_it():
    shares = competition.softmax(competition.with_background(S, 0.0))
    before, rest = competition.split_background(shares)
    made, left = competition.reserve_border(before, rest, 1)
    on_edge = np.ones((4, 5), bool)
    on_edge[1:3, 1:4] = False
    np.testing.assert_array_equal(made[:, 3], np.broadcast_to(on_edge, (2, 4, 5)))
    np.testing.assert_array_equal(made[:, :3], np.where(on_edge, 0, before))
    np.testing.assert_allclose(made.sum(1) + left, 1.0, rtol=1e-5)
    assert competition.reserve_border(before, None, 1)[1] is None


@pytest.mark.parametrize("width", [0, 2])
def test_a_border_has_an_inside(width):
    with pytest.raises(UserError, match=f"a border of {width} cells, a grid of 4x5; expected at least 1, and cells"):
        competition.reserve_border(S, None, width)


def test_gumbel_noise_only_with_a_key():
    np.testing.assert_array_equal(competition.gumbel_softmax(S, 0.5), competition.softmax(S, 0.5))
    draw = jax.jit(lambda k: competition.gumbel_softmax(S, 0.5, k))
    drawn = [draw(jax.random.key(i)) for i in (0, 0, 1)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert np.abs(drawn[0] - drawn[2]).max() > 0.1
    np.testing.assert_allclose(drawn[0].sum(1), 1.0, rtol=1e-5)


def test_the_largest_noisy_part_is_a_draw_from_the_softmax():
    logits = jnp.broadcast_to(jnp.array([0.0, 1.0, 2.0])[None, :, None, None], (1, 3, 100, 100))
    winner = competition.gumbel_softmax(logits, 1.0, jax.random.key(3)).argmax(1)
    shares = np.bincount(np.asarray(winner).ravel(), minlength=3) / 1e4
    np.testing.assert_allclose(shares, scipy_softmax([0.0, 1.0, 2.0]), atol=0.02)


def test_sinkhorn_marginals():
    share = jnp.array([0.2, 0.3, 0.5])
    assignment = jax.jit(lambda s: competition.sinkhorn(s, share, 0.5, 100))(S)
    np.testing.assert_allclose(assignment.sum(1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(assignment.mean((2, 3)), np.broadcast_to(share, (2, 3)), rtol=1e-4)
    equal = competition.sinkhorn(S, epsilon=0.5, iterations=100)
    np.testing.assert_allclose(equal.mean((2, 3)), 1 / 3, rtol=1e-4)


def test_transport_is_a_scaling_of_the_kernel():
    """The entropic optimum is the only plan of the form diag(u) exp(S/eps) diag(v) with the marginals."""
    rows, columns = np.array([0.1, 0.2, 0.7]), RNG.dirichlet(np.ones(20))
    scores = SIMILARITY[0].reshape(3, 20)
    plan = np.asarray(competition.transport(*map(jnp.float32, (scores, rows, columns)), 0.5, 200), np.float64)
    log_scale = np.log(plan) - scores / 0.5
    cross = log_scale - log_scale[:1] - log_scale[:, :1] + log_scale[:1, :1]
    np.testing.assert_allclose(cross, 0, atol=1e-3)
    np.testing.assert_allclose(plan.sum(0), columns, rtol=1e-4)
    np.testing.assert_allclose(plan.sum(1), rows, rtol=1e-4)


def exact_cost(cost, rows, columns):
    """The least cost of moving `rows` onto `columns`."""
    s, r = cost.shape
    margins = np.zeros((s + r, s * r))
    for i in range(s):
        for j in range(r):
            margins[i, i * r + j] = margins[s + j, i * r + j] = 1
    solution = linprog(cost.ravel(), A_eq=margins, b_eq=np.concatenate([rows, columns]), method="highs")
    return solution.fun


def test_transport_comes_close_to_the_linear_programme():
    rng = np.random.default_rng(0)
    cost = rng.uniform(0, 1, (4, 5))
    rows, columns = rng.dirichlet(np.ones(4)), rng.dirichlet(np.ones(5))
    best = exact_cost(cost, rows, columns)
    gaps = []
    for epsilon in (0.2, 0.05, 0.01):
        plan = np.asarray(competition.transport(-cost.astype(np.float32), rows, columns, epsilon, 500), np.float64)
        np.testing.assert_allclose(plan.sum(0), columns, rtol=1e-4)
        np.testing.assert_allclose(plan.sum(1), rows, rtol=1e-2)
        gaps.append((plan * cost).sum() - best)
    assert gaps[0] > gaps[1] > gaps[2] > -1e-3
    assert gaps[1] < 0.05 and gaps[2] < 0.005


def test_no_flow_to_or_from_zero_margins():
    plan = np.asarray(competition.transport(jnp.zeros((2, 3)), np.array([1.0, 0.0]), np.array([0.5, 0.0, 0.5])))
    np.testing.assert_allclose(plan, [[0.5, 0, 0.5], [0, 0, 0]], atol=1e-6)


def test_transport_gradient_and_empty_masses():
    rows, columns = jnp.array([0.5, 0.5, 0.0]), jnp.array([0.25] * 4 + [0.0])

    def total(scores):
        return (competition.transport(scores, rows, columns, 0.2, 30) * scores).sum()

    value, gradient = jax.jit(jax.value_and_grad(total))(S[0, :, 0])
    plan = competition.transport(S[0, :, 0], rows, columns, 0.2, 30)
    assert np.isfinite(value) and np.isfinite(gradient).all()
    assert float(plan[2].max()) == 0 and float(plan[:, 4].max()) == 0
    np.testing.assert_allclose(plan[:2, :4].sum(0), 0.25, rtol=1e-5)


def sinkhorn_oracle(similarity, epsilon, iterations):
    kernel = np.exp(similarity.reshape(3, 20) / epsilon)
    v = np.ones(20)
    for _ in range(iterations):
        u = (1 / 3) / (kernel @ v)
        v = (1 / 20) / (kernel.T @ u)
    return 20 * u[:, None] * kernel * v


def test_sinkhorn_and_its_gradient_against_plain_scaling_in_float64():
    weights = RNG.normal(size=(3, 20))
    got = jax.jit(lambda s: competition.sinkhorn(s, None, 0.5, 10))(S[:1])
    np.testing.assert_allclose(got.reshape(3, 20), sinkhorn_oracle(SIMILARITY[0], 0.5, 10), rtol=1e-4)

    def loss(s):
        return (weights * competition.sinkhorn(s, None, 0.5, 10).reshape(3, 20)).sum()

    gradient = np.asarray(jax.jit(jax.grad(loss))(S[:1]))[0].reshape(3, 20)
    for index in [(0, 0), (1, 7), (2, 19)]:
        ends = []
        for step in (1e-5, -1e-5):
            moved = SIMILARITY[0].reshape(3, 20).copy()
            moved[index] += step
            ends.append((weights * sinkhorn_oracle(moved, 0.5, 10)).sum())
        np.testing.assert_allclose(gradient[index], (ends[0] - ends[1]) / 2e-5, rtol=1e-3, atol=1e-4)


def test_soft_assign_finds_the_best_matching():
    scores = RNG.uniform(size=(3, 4))
    best = max(itertools.permutations(range(4), 3), key=lambda p: sum(scores[k, n] for k, n in enumerate(p)))
    assignment = competition.soft_assign(jnp.float32(scores)[None, :, None], 0.01, 300)[0, :, 0]
    np.testing.assert_array_equal(assignment.argmax(1), best)
    np.testing.assert_allclose(assignment.sum(1), 1.0, atol=0.02)


def test_soft_assign_never_gives_a_location_away_twice():
    assignment = jax.jit(lambda s: competition.soft_assign(s, 0.1, 20))(5 * S)
    assert float(assignment.sum(1).max()) <= 1 + 1e-5
    gradient = jax.jit(jax.grad(lambda s: competition.soft_assign(s, 0.1, 20)[0, 0, 0, 0]))(S)
    assert np.isfinite(gradient).all()


ANNEALED = jax.jit(competition.annealed_soft_assign, static_argnames=("temperatures", "rounds"))


@pytest.mark.parametrize("shape", [(6, 3, 1, 5), (6, 5, 1, 5), (4, 8, 6, 6)])
@pytest.mark.parametrize("shared", [0.0, 3.0])
def test_annealed_soft_assign_gives_each_part_one_location_and_no_location_twice(shape, shared):
    """Also where all parts want the same locations, and where there are just as many parts as locations."""
    rng = np.random.default_rng(5)
    scores = rng.normal(size=shape) + shared * rng.normal(size=(shape[0], 1, *shape[2:]))
    assignment = ANNEALED(jnp.float32(scores))
    assert float(assignment.min()) >= 0
    np.testing.assert_allclose(assignment.sum((2, 3)), 1.0, atol=1e-3)
    assert float(assignment.sum(1).max()) <= 1 + 1e-3


def test_cold_annealed_soft_assign_is_the_hungarian_matching_where_the_optimum_is_clear():
    rng = np.random.default_rng(6)
    clear = []
    for scores in rng.normal(size=(40, 4, 6)):
        values = sorted(sum(scores[range(4), list(p)]) for p in itertools.permutations(range(6), 4))
        if values[-1] - values[-2] > 0.3:
            clear.append(scores)
    clear = np.array(clear)
    assert len(clear) > 10
    assignment = ANNEALED(jnp.float32(clear)[:, :, None], (1.0, 0.01), 600)[:, :, 0]
    best = np.array([linear_sum_assignment(scores, maximize=True)[1] for scores in clear])
    np.testing.assert_allclose(assignment, np.eye(6)[best], atol=0.02)


def test_annealed_and_plain_soft_assign_agree_at_the_same_last_temperature():
    plain = competition.soft_assign(S, 0.2, 400)
    annealed = ANNEALED(S, (1.0, 0.2), 400)
    np.testing.assert_allclose(annealed, plain, atol=2e-3)


def test_annealed_soft_assign_of_a_flat_map_is_flat():
    np.testing.assert_allclose(ANNEALED(jnp.zeros((1, 2, 2, 3))), 1 / 6, rtol=1e-5)


MATCHINGS = ["soft_assign", "annealed_soft_assign"]


@pytest.mark.parametrize("name", ["softmax", "gumbel_softmax", "independent", "sinkhorn", *MATCHINGS])
def test_permuting_parts_permutes_the_assignment(name):
    function, order = getattr(competition, name), jnp.array([2, 0, 1])
    np.testing.assert_allclose(function(S[:, order]), function(S)[:, order], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: competition.softmax(jnp.ones((2, 3, 4))), r"similarity has shape \(2, 3, 4\)"),
        (lambda: competition.with_background(S, jnp.ones((2, 3, 3))), "background has shape"),
        (lambda: competition.split_background(jnp.ones((2, 1, 3, 3))), "expected 2 or more"),
        (lambda: competition.soft_assign(jnp.ones((1, 5, 2, 2))), "5 parts, 4 locations"),
        (lambda: competition.annealed_soft_assign(jnp.ones((1, 5, 2, 2))), "annealed_soft_assign: 5 parts, 4 locations"),
        (lambda: competition.annealed_soft_assign(S, (1.0, 0.0)), "last_temperature is 0.0"),
        (lambda: competition.sinkhorn(S, jnp.ones(4)), "part_share has shape"),
        (lambda: competition.sinkhorn(S, epsilon=0.0), "epsilon is 0.0; expected it positive"),
        (lambda: competition.transport(jnp.ones((3, 4)), jnp.ones(4), jnp.ones(4)), "row_mass has shape"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
