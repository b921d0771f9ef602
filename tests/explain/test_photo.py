"""Scores on photos: against loops by hand, the best of all orders, and the known flaw of average drop."""

import itertools

import numpy as np
import pytest
from scipy import special

from partrep import UserError
from partrep.explain import photo
from partrep.explain.masking import FILLS, donors
from partrep.metrics import faithfulness

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(0.1, 0.9, size=(5, 4, 6, 3)).astype(np.float32)
MAPS = RNG.normal(size=(5, 4, 6)).round(1)  # with equal values
WEIGHTS = RNG.normal(size=(72, 4))
MASKS = RNG.uniform(size=(5, 4, 6)) < 0.5


def predict(images):
    return np.tanh(images.reshape(len(images), -1)[:, ::-1] @ WEIGHTS)


TARGET = photo.predicted_class(predict, IMAGES)


def probability(image, target):
    return special.softmax(predict(image[None])[0].astype(np.float64))[target]


def order_of(saliency):
    return sorted(range(saliency.size), key=lambda p: (-saliency.ravel()[p], p))


def removed(pixels, shape=(4, 6)):
    gone = np.zeros(shape, bool)
    gone.ravel()[list(pixels)] = True
    return gone


@pytest.mark.parametrize("name", FILLS)
def test_curves_and_kept_areas_equal_loops_by_hand(name):
    curves = photo.deletion_insertion(predict, IMAGES, MAPS, TARGET, FILLS[name], steps=5)
    kept = photo.matched_area_curve(predict, IMAGES, MAPS, TARGET, FILLS[name], areas=(0.1, 0.5))
    other = donors(TARGET)
    for i, (image, saliency) in enumerate(zip(IMAGES, MAPS)):
        def score(gone, i=i, image=image):
            filled = FILLS[name](image[None], gone[None], IMAGES[other[i]][None])[0]
            return probability(filled, TARGET[i])

        order = order_of(saliency)
        counts = [0, 5, 10, 14, 19, 24]  # 24 t / 5 to the nearest
        np.testing.assert_allclose(curves.deletion[i], [score(removed(order[:c])) for c in counts], atol=1e-6)
        np.testing.assert_allclose(curves.insertion[i], [score(removed(order[c:])) for c in counts], atol=1e-6)
        top = [faithfulness.top_area_mask(saliency[None], share)[0] for share in (0.1, 0.5)]
        np.testing.assert_allclose(kept[i], [score(~mask) for mask in top], atol=1e-6)


def test_road_equals_loops_by_hand():
    found = photo.road(predict, IMAGES, MAPS, TARGET, shares=(0.25, 0.5))
    for i, (image, saliency) in enumerate(zip(IMAGES, MAPS)):
        order = order_of(saliency)
        for t, count in enumerate((6, 12)):
            for pixels, score, same in [
                (order[:count], found.most, found.most_same),
                (order[-count:], found.least, found.least_same),
            ]:
                filled = FILLS["imputation"](image[None], removed(pixels)[None], image[None])
                assert score[i, t] == pytest.approx(probability(filled[0], TARGET[i]), abs=1e-6)
                assert same[i, t] == (predict(filled).argmax() == TARGET[i])
    np.testing.assert_allclose(found.difference, (found.least - found.most).mean(1))
    counted = found.least_same.astype(int) - found.most_same.astype(int)
    np.testing.assert_allclose(found.accuracy_difference, counted.mean(1))


def test_masked_scores_equal_loops_by_hand_and_their_means_the_metrics():
    found = photo.masked_scores(predict, IMAGES, MAPS, TARGET)
    o = np.array([probability(image, k) for image, k in zip(IMAGES, TARGET)])
    soft = [(m - m.min()) / (m.max() - m.min()) for m in MAPS]
    e = np.array([probability(image * s[..., None].astype(np.float32), k) for image, s, k in zip(IMAGES, soft, TARGET)])
    np.testing.assert_allclose(100 * found.drop.mean(), faithfulness.average_drop(o, e), rtol=1e-4)
    np.testing.assert_allclose(100 * found.gain.mean(), faithfulness.average_gain(o, e), rtol=1e-4)
    assert 100 * found.increase.mean() == faithfulness.average_increase(o, e)
    np.testing.assert_allclose(found.area, [s.mean() for s in soft], rtol=1e-5)
    np.testing.assert_allclose(found.drop, np.maximum(o - e, 0) / o, rtol=1e-4, atol=1e-6)


def test_a_map_of_ones_drops_gains_and_increases_nothing_and_one_of_noughts_shows_nothing():
    ones, noughts = (photo.masked_scores(predict, IMAGES, np.full((5, 2, 3), v), TARGET) for v in (1.0, 0.0))
    assert not np.any(ones.drop) and not np.any(ones.gain) and not np.any(ones.increase) and np.all(ones.area == 1)
    black = np.array([probability(np.zeros_like(image), k) for image, k in zip(IMAGES, TARGET)])
    o = np.array([probability(image, k) for image, k in zip(IMAGES, TARGET)])
    np.testing.assert_allclose(noughts.drop, np.maximum(o - black, 0) / o, rtol=1e-5, atol=1e-7)


def linear(images, terms):
    """Probability of class 0: the sum of non-negative terms of the pixels, at most 0.9."""
    p = np.clip(0.9 * (images[..., 0] * terms).sum((1, 2)) / terms.sum(), 1e-12, 1)
    return np.log(np.stack([p, 1 - p], 1))


def test_on_a_linear_model_the_true_order_is_best_of_all_orders():
    terms = np.array([[0.3, 0.0, 1.2], [0.7, 0.05, 0.4]])
    orders = np.array(list(itertools.permutations(range(6)))).reshape(-1, 2, 3)
    images = np.ones((len(orders), 2, 3, 3), np.float32)
    target = np.zeros(len(orders), int)
    curves = photo.deletion_insertion(lambda x: linear(x, terms), images, orders, target, steps=6)
    deletion, insertion = (faithfulness.curve_area(curve) for curve in curves)
    rank = np.argsort(np.argsort(terms.ravel())).reshape(2, 3)
    true = (orders == rank).all((1, 2)).argmax()
    assert deletion[true] == pytest.approx(deletion.min()) and (deletion < deletion[true] + 1e-9).sum() == 1
    assert insertion[true] == pytest.approx(insertion.max()) and (insertion > insertion[true] - 1e-9).sum() == 1
    worst = (orders == 5 - rank).all((1, 2)).argmax()
    assert deletion[worst] == pytest.approx(deletion.max())


def test_a_map_of_nearly_ones_has_the_best_drop_and_increase_and_is_found_out_by_gain_and_at_equal_area():
    """The flaw that Fake-CAM shows: the whole image but one corner, which speaks a little against the class."""
    terms = np.zeros((1, 8, 8, 1))
    terms[0, 2:4, 2:4], terms[0, 0, 0], terms[0, 6:, 6:] = 1.0, -0.01, -0.5

    def model(images):
        s = (images * terms).mean(-1).sum((1, 2))
        return np.stack([s, np.zeros_like(s)], 1)

    images, target = np.ones((2, 8, 8, 3), np.float32), np.zeros(2, int)
    fake, honest = np.ones((2, 8, 8)), np.zeros((2, 8, 8))
    fake[:, 0, 0], honest[:, 2:4, 2:4] = 0.0, 1.0
    faked, told = (photo.masked_scores(model, images, maps, target) for maps in (fake, honest))
    assert np.all(faked.drop == 0) and np.all(faked.increase) and np.all(faked.area > 0.98)
    assert np.all(faked.gain < 0.02) and np.all(told.gain > 0.5)
    assert np.all(told.drop == 0) and np.all(told.area < 0.1)
    kept = [photo.matched_area_curve(model, images, maps, target, areas=(1 / 16,)) for maps in (fake, honest)]
    assert np.all(kept[0] <= 0.5) and np.all(kept[1] > 0.95)


def test_maps_are_interpolated_and_only_their_order_counts_but_for_masks():
    small = np.array([[[0.0, 1.0], [2.0, 4.0]]] * 5)
    large = photo.soft_mask(small, 4, 6)
    assert large.min() == 0 and large.max() == 1 and large[0, 0, 0] == 0 and 0 < large[0, 1, 2] < 0.5
    one = photo.deletion_insertion(predict, IMAGES, small, TARGET, steps=3)
    two = photo.deletion_insertion(predict, IMAGES, np.exp(large), TARGET, steps=3)
    assert np.array_equal(one.deletion, two.deletion) and np.array_equal(one.insertion, two.insertion)


def test_all_scores_are_those_of_the_functions_whatever_the_order_of_the_images_and_the_batch(monkeypatch):
    shapes = []

    def counted(images):
        shapes.append(images.shape)
        return predict(images)

    fills = [name for name in FILLS if name != "patches"]  # whose donors depend on the set
    given = {"a": MAPS, "b": MAPS[:, ::-1]}
    whole = photo.score_on_photos(predict, given, IMAGES, TARGET, MASKS, fills, steps=3)
    monkeypatch.setattr(photo, "BATCH", 2)
    order = np.array([3, 0, 4, 1, 2])
    mixed = {name: maps[order] for name, maps in given.items()}
    again = photo.score_on_photos(counted, mixed, IMAGES[order], TARGET[order], MASKS[order], fills, steps=3)
    assert set(shapes) == {(2, 4, 6, 3)}
    for name, scores in whole.items():
        assert {key.split("/")[0] for key in scores} == set(photo.SCORES)
        for key, values in scores.items():
            assert values.shape == (5,) and values.dtype == np.float64
            np.testing.assert_allclose(again[name][key], values[order], atol=1e-5, err_msg=key)
    curves = photo.deletion_insertion(predict, IMAGES, MAPS, TARGET, FILLS["mean"], steps=3)
    areas = faithfulness.insertion_deletion(curves.insertion, curves.deletion)
    np.testing.assert_allclose(whole["a"]["difference/mean"], areas.difference)
    np.testing.assert_allclose(whole["a"]["road"], photo.road(predict, IMAGES, MAPS, TARGET).difference)
    large = MAPS.astype(np.float32)
    np.testing.assert_allclose(whole["a"]["energy"], faithfulness.energy_inside(large, MASKS))
    assert np.array_equal(whole["a"]["pointing"], faithfulness.pointing_game(large, MASKS))
    assert "energy" not in photo.score_on_photos(predict, {"a": MAPS}, IMAGES, TARGET, fills=[], steps=1)["a"]


def test_mistakes_are_named():
    with pytest.raises(UserError, match="unknown fill 'white'; known: black"):
        photo.score_on_photos(predict, {"a": MAPS}, IMAGES, TARGET, fills=["white"])
    with pytest.raises(UserError, match="outside the 4 classes"):
        photo.masked_scores(predict, IMAGES, MAPS, TARGET + 4)
    with pytest.raises(UserError, match="maps with values that are not finite"):
        photo.road(predict, IMAGES, MAPS * np.nan, TARGET)
    with pytest.raises(UserError, match=r"expected \[n,C\]"):
        photo.masked_scores(lambda images: images, IMAGES, MAPS, TARGET)
    with pytest.raises(UserError, match=r"shares \(0.0,\)"):
        photo.matched_area_curve(predict, IMAGES, MAPS, TARGET, areas=(0.0,))
    with pytest.raises(UserError, match="0 steps"):
        photo.deletion_insertion(predict, IMAGES, MAPS, TARGET, steps=0)
    with pytest.raises(ValueError, match="maps has shape"):
        photo.deletion_insertion(predict, IMAGES, MAPS[:2], TARGET)
    with pytest.raises(ValueError, match="maps has shape"):
        photo.masked_scores(predict, IMAGES, MAPS[:2], TARGET)
