"""The command that finds photos: indexes, appends, continues, searches as brute force does, and refuses mistakes."""

from __future__ import annotations

import json
import pathlib
import re
import shutil

import numpy as np
import pytest

import partrep
from launch import retrieve, runner
from partrep.search import index as index_file
from partrep.search.index import open_index
from partrep.tasks import finished, retrieve_photos


def call(*argv):
    retrieve.main(runner.parse_flags(retrieve.FLAGS, ["retrieve", *argv]))


@pytest.fixture(scope="module")
def indexed(trained, tmp_path_factory):
    """An index of all test photos but the last class, which are put there later."""
    root = tmp_path_factory.mktemp("retrieve")
    shutil.copytree(trained.test, root / "photos")
    shutil.move(root / "photos" / "red", root / "red")
    (root / "photos" / "notes.txt").write_text("no photo")
    call(f"--workdir={trained.workdir}", f"--images={root / 'photos'}", f"--index={root / 'index'}")
    return root


def test_what_is_new_is_added_after_a_kill_and_found_again_as_brute_force_finds_it(trained, indexed, capsys, monkeypatch):
    assert len(open_index(indexed / "index").names) == 8
    shutil.move(indexed / "red", indexed / "photos" / "red")
    monkeypatch.setattr(retrieve_photos, "SHARD", 3)
    write, calls = index_file._write_manifest, []

    def killed(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        write(*args)

    monkeypatch.setattr(index_file, "_write_manifest", killed)
    run = f"--workdir={trained.workdir}", f"--index={indexed / 'index'}"
    with pytest.raises(KeyboardInterrupt):
        call(*run, f"--images={indexed / 'photos'}")
    assert len(open_index(indexed / "index").names) == 10
    monkeypatch.setattr(index_file, "_write_manifest", write)
    capsys.readouterr()
    out = indexed / "new" / "page.html"
    call(*run, f"--images={indexed / 'photos'}", f"--queries={indexed / 'photos'}", f"--out={out}", "--top=3")
    said = capsys.readouterr()
    assert said.out.splitlines()[0] == f"{indexed / 'index'}: 12 photos, 2 of them new"
    assert said.out.splitlines()[-1] == f"page: {out}" and "not indexed: notes.txt: " in said.err
    assert out.read_text().count("data:image/jpeg") == 24

    index = open_index(indexed / "index")
    rows = index.descriptors[0:12].astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    lines = said.out.splitlines()[1:-1]
    for start in range(0, len(lines), 4):
        own = rows[index.names.index(lines[start])]
        nearest = [line.split() for line in lines[start + 1 : start + 4]]
        assert nearest[0][1:] == ["1.000", lines[start]]
        expected = np.sort(rows @ own)[::-1][:3]
        np.testing.assert_allclose([float(value) for _, value, _ in nearest], expected, atol=6e-4)
        assert [f"{rows[index.names.index(name)] @ own:.3f}" for _, _, name in nearest] == [v for _, v, _ in nearest]
    assert len(lines) == 48


def test_a_photo_that_was_changed_under_its_name_is_noticed_and_described_again(trained, indexed, tmp_path, capsys):
    photos, index = tmp_path / "photos", tmp_path / "index"
    shutil.copytree(trained.test, photos)
    run = f"--workdir={trained.workdir}", f"--index={index}"
    call(*run, f"--images={photos}")
    names = open_index(index).names
    before = dict(zip(names, open_index(index).descriptors[0 : len(names)]))
    one, other, gone = names[0], names[-1], names[1]
    shutil.copy(photos / other, photos / one)  # another time, and as a rule another size
    (photos / gone).write_text("no photo any more")
    capsys.readouterr()
    call(*run, f"--queries={photos / other}", f"--top={len(names)}", f"--out={tmp_path / 'page.html'}")
    assert f"changed since indexed: {one}, {gone}; expected --images={photos} again" in capsys.readouterr().err
    shown = photos_on(tmp_path / "page.html")
    assert all(bool(shown[name]["src"]) == (name not in (one, gone)) for name in names)
    assert shown[one]["note"] == shown[gone]["note"] == "The photo was changed since it was indexed."
    assert not shown[one]["parts"] and shown[other]["note"] == ""
    call(*run, f"--images={photos}", f"--queries={photos / other}")
    said = capsys.readouterr()
    assert said.out.splitlines()[0] == f"{index}: {len(names) - 1} photos, 0 of them new, 2 changed"
    assert f"not indexed: {gone}: " in said.err and "since indexed" not in said.err
    found = open_index(index)
    after = dict(zip(found.names, found.descriptors[0 : len(found.names)]))
    assert set(after) == set(names) - {gone}
    np.testing.assert_allclose(after[one], before[other], atol=1e-5)
    assert np.abs(after[one] - before[one]).max() > 0.1
    assert all(np.array_equal(after[name], before[name]) for name in after if name != one)


def test_of_a_photo_that_is_gone_the_advice_can_be_followed(trained, tmp_path, capsys):
    photos = tmp_path / "photos"
    shutil.copytree(trained.test, photos)
    run = f"--workdir={trained.workdir}", f"--queries={photos}", "--top=12"
    call(*run, f"--index={tmp_path / 'index'}", f"--images={photos}")
    shutil.move(photos / "red" / "3.png", tmp_path / "kept.png")
    again = f"--index={tmp_path / 'index'}", f"--images={photos}", f"--out={tmp_path / 'page.html'}"
    capsys.readouterr()
    call(*run, *again)
    wanted = f"expected in {photos} again, or another --index of what is there"
    assert f"gone since indexed: red/3.png; {wanted}\n" in capsys.readouterr().err
    assert photos_on(tmp_path / "page.html")["red/3.png"]["note"] == "The photo is not there any more."
    call(*run, f"--index={tmp_path / 'other'}", f"--images={photos}")
    assert "since indexed" not in capsys.readouterr().err
    shutil.move(tmp_path / "kept.png", photos / "red" / "3.png")
    found = retrieve_photos.no_longer_indexed(open_index(tmp_path / "index"), np.arange(12), photos)
    assert found == {"changed": [], "gone": []}


def photos_on(page):
    """The photos found that a page shows, by name."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r'<script type="application/json" id="data-photo-\d+">(.*?)</script>', text, re.S)
    return {photo["name"]: photo for photo in map(json.loads, found)}


def test_parts_of_the_page_sum_to_the_similarity_and_a_photo_that_is_gone_has_no_picture(trained, indexed):
    encoder = retrieve_photos.Encoder.of(finished.load(trained.workdir))
    index = open_index(indexed / "index", retrieve_photos.made_by(encoder))
    searcher = retrieve_photos_engine(index)
    found = retrieve_photos.find(encoder, searcher, trained.test / "blue" / "0.png", 4)
    made = retrieve_photos.page(encoder, index, found, trained.test / "blue")  # which has other names
    assert [photo.picture for photo in made.photos] == [None] * 4 and made.indexed == len(index.names)
    (query,) = made.queries
    assert query.photo.name == "0.png" and query.photo.picture and query.parts == (0, 1, 2)
    for (_, similarity, adds), value in zip(query.ranked, found.similarity[0]):
        assert abs(adds.sum() - similarity) < 1e-5 and abs(similarity - value) < 1e-5


def retrieve_photos_engine(index):
    from partrep.search.engines import exact

    return exact(index.descriptors)


def test_a_damaged_index_and_another_model_are_refused(trained, indexed, tmp_path):
    shutil.copytree(indexed / "index", tmp_path / "index")
    whole = (tmp_path / "index" / "00000.npy").read_bytes()
    (tmp_path / "index" / "00000.npy").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    run = f"--workdir={trained.workdir}", f"--queries={trained.test}", f"--index={tmp_path / 'index'}"
    with pytest.raises(partrep.UserError, match="00000.npy does not match its digest; the index is damaged"):
        call(*run)
    with index_file.writing(tmp_path / "other", {"model": "0" * 16}):
        pass
    with pytest.raises(partrep.UserError, match="other was made otherwise: its model is '0000000000000000'"):
        call(*run, f"--index={tmp_path / 'other'}")
    with pytest.raises(partrep.UserError, match="was made otherwise: its images is"):
        call(f"--workdir={trained.workdir}", f"--images={trained.test}", f"--index={indexed / 'index'}")


def test_a_run_that_lost_its_backbone_makes_no_index(trained, tmp_path):
    shutil.copytree(trained.workdir, tmp_path / "run", ignore=shutil.ignore_patterns("backbone.safetensors"))
    with pytest.raises(partrep.UserError, match=r"run/backbone.safetensors is missing; expected the frozen backbone"):
        call(f"--workdir={tmp_path / 'run'}", f"--images={trained.test}", f"--index={tmp_path / 'index'}")
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize(
    "files, message", [((), "has no file; expected photos"), (("a.txt", "b.jpg"), r"has 2 files, none .* photo \(a.txt: ")]
)
def test_a_folder_without_a_photo_makes_no_index_and_leaves_one_alone(trained, indexed, tmp_path, files, message):
    folder, before = tmp_path / "photos", (indexed / "index" / "manifest.json").read_bytes()
    folder.mkdir()
    for name in files:
        (folder / name).write_text("no photo")
    for index in (tmp_path / "index", indexed / "index"):
        with pytest.raises(partrep.UserError, match=message):
            call(f"--workdir={trained.workdir}", f"--images={folder}", f"--index={index}")
    assert not (tmp_path / "index").exists()
    assert (indexed / "index" / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(
    "change, message",
    [
        (("--workdir=",), "--workdir is missing; expected --workdir=RUN --index=INDEX with"),
        (("--queries=",), "neither --images nor --queries is given"),
        (("--queries=nowhere",), "--queries is nowhere; expected a photo or a folder of photos"),
        (("--images=nowhere",), "--images is nowhere; expected a folder of photos"),
        (("--index=nowhere",), r"nowhere holds no index \(manifest.json is missing\)"),
        (("--top=101",), "--top=101; expected 1 to 100"),
        (("--engine=annoy",), "unknown engine 'annoy'; known: exact, faiss"),
        (("--out=.",), "--out is the folder .; expected a file"),
        (("--queries=setup.py",), r"setup.py holds no photo \(setup.py: not a readable image"),
    ],
)
def test_mistakes_of_the_command_line(trained, indexed, tmp_path, monkeypatch, change, message):
    with pytest.raises(partrep.UserError, match=message):
        call(f"--workdir={trained.workdir}", f"--index={indexed / 'index'}", f"--queries={trained.test}", *change)


LONG = 300 * "n"


@pytest.mark.parametrize(
    "argv, message",
    [
        (("--queries={test}", "--out=new/LONG.html"), "cannot write --out=new/n*.html: File name too long; expected a file"),
        (("--queries={test}", "--out=LONG"), "--out is n*: File name too long; expected a file, such as page.html"),
        (("--queries={test}", "--out=/proc/nosuch/page.html"), "cannot make the folder /proc/nosuch: .*; expected a folder to"),
        (("--queries={test}", "--out=/proc/page.html"), "cannot write --out=/proc/page.html: .*; expected a file, such as"),
        (("--queries=LONG",), "n*: File name too long; expected a place that can be read"),
        (("--images={test}", "--index=LONG"), "n*: File name too long; expected a place that can be read"),
        (("--images={test}", "--index=new/LONG"), "cannot make the folder new/n*: File name too long; expected a folder to"),
        (("--images={test}", "--index=/proc/nosuch"), "cannot make the folder /proc/nosuch: .*; expected a folder to"),
        (("--index=LONG", "--queries={test}"), "n*/manifest.json: File name too long; expected a place that can be read"),
        (("--images={test}", "--out=new/page.html"), "--out is given and --queries is not; expected --queries=FOLDER"),
        (("--queries={test}", "--top=abc"), "--top=abc does not fit; expected a whole number: photos listed .*1 to 100"),
    ],
)
def test_places_that_take_no_file_end_in_one_line(trained, indexed, tmp_path, monkeypatch, capsys, argv, message):
    if any("/proc" in each for each in argv) and not pathlib.Path("/proc/self").exists():
        pytest.skip("needs a file system that takes no files")
    monkeypatch.chdir(tmp_path)
    argv = [each.format(test=trained.test).replace("LONG", LONG) for each in argv]
    argv = ["retrieve", f"--workdir={trained.workdir}", f"--index={indexed / 'index'}", *argv]
    with pytest.raises(SystemExit) as stopped:
        runner.run(retrieve.main, retrieve.FLAGS, retrieve.__doc__, argv)
    (line,) = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and re.match(f"error: {message}", line), line
    assert not list(tmp_path.iterdir())
