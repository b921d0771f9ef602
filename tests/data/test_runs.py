"""The official one-shot runs: form, and the table of alphabets against the evaluation drawings."""

import zipfile

import numpy as np
import pytest

from partrep import UserError
from partrep.data.omniglot import Omniglot
from partrep.data.runs import RUN_ALPHABETS, OneShotRuns


def write_runs(encode, path, root=""):
    """Two runs of three drawings; the truth of run02 is 2, 0, 1."""
    with zipfile.ZipFile(path, "w") as archive:
        for run, truth in (("run03", [0, 1, 2]), ("run02", [2, 0, 1])):
            pairs = [
                f"{run}/test/item0{i + 1}.png {run}/training/class0{t + 1}.png\n" for i, t in enumerate(truth)
            ]
            archive.writestr(f"{root}{run}/class_labels.txt", "".join(pairs))
            for i in range(3):
                pixels = np.ones((105, 105), bool)
                pixels[i] = False
                archive.writestr(f"{root}{run}/training/class0{i + 1}.png", encode(pixels))
                archive.writestr(f"{root}{run}/test/item0{i + 1}.png", encode(pixels.T))


@pytest.mark.parametrize("root", ["", "all_runs/"])
@pytest.mark.parametrize("name", ["all_runs.zip", "runs02-03.zip"])
def test_reads_zips_by_folder_or_name(tmp_path, encode, name, root):
    write_runs(encode, tmp_path / name, root)
    for path in (tmp_path, tmp_path / name):
        runs = OneShotRuns(path)
        assert [run.number for run in runs] == [2, 3] and len(runs) == 2
        assert runs.alphabets == ["Atlantean", "Ge_ez"]
        assert runs[0].truth.tolist() == [2, 0, 1]
        assert runs[0].train.shape == (3, 105, 105, 1)
        assert (runs[0].train[1, 1] == 0).all() and (runs[0].test[1, :, 1] == 0).all()
    assert OneShotRuns(tmp_path, size=28)[1].test.shape == (3, 28, 28, 1)


def test_errors(tmp_path):
    with pytest.raises(UserError, match=r"no all_runs\.zip or runs\*\.zip"):
        OneShotRuns(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        OneShotRuns(tmp_path / "q")
    with zipfile.ZipFile(tmp_path / "runs1.zip", "w") as archive:
        archive.writestr("run01/class_labels.txt", "run01/test/item01.png run01/training/class01.png\n")
    with pytest.raises(UserError, match="not in run01/training"):
        OneShotRuns(tmp_path)
    with zipfile.ZipFile(tmp_path / "runs1.zip", "w") as archive:
        archive.writestr("readme.txt", "")
    with pytest.raises(UserError, match="no one-shot run"):
        OneShotRuns(tmp_path)


def test_table_has_two_runs_an_alphabet():
    assert sorted(RUN_ALPHABETS) == list(range(1, 21))
    names = list(RUN_ALPHABETS.values())
    assert names[0::2] == names[1::2] == sorted(set(names))


def test_table_is_what_the_evaluation_drawings_say(shared):
    """Every run drawing is pixel-equal to one evaluation drawing, of its alphabet and its class."""
    source = Omniglot(shared / "data/omniglot", "evaluation")
    known = {image.tobytes(): i for i, image in enumerate(source.images)}
    assert len(known) == len(source)
    for run in OneShotRuns(shared / "data/omniglot"):
        train = np.array([known[image.tobytes()] for image in run.train])
        test = np.array([known[image.tobytes()] for image in run.test])
        assert {source.group_names[g] for g in source.groups[np.concatenate([train, test])]} == {run.alphabet}
        assert np.array_equal(source.labels[train][run.truth], source.labels[test])
        assert len(set(source.labels[train])) == 20 and sorted(run.truth) == list(range(20))
        of_train, of_test = (set(source.attributes["drawer"][i]) for i in (train, test))
        assert len(of_train) == len(of_test) == 1 and of_train != of_test
