"""Nothing but the parts tells the classes: other cues recognise new birds near chance, at every level."""

import pytest

from partrep.benchmark import levels


@pytest.fixture(scope="module", params=["easy", "standard", "hard"])
def seen(request):
    """Images, where their birds are, and episodes over them."""
    return levels.validation(request.param, levels.Amounts())


@pytest.mark.parametrize("cue", levels.CUES)
def test_a_cue_that_is_no_part_recognises_near_chance(cue, seen):
    assert 0.17 < levels.cue_accuracy(cue, seen) < 0.25  # chance is 0.2; standard errors are about 0.005
