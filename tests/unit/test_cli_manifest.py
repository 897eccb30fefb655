import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cleanplate.cli.manifest import BatchLine, Content, Fault, ItemLine, Manifest, ManifestError
from cleanplate.resources import Params
from cleanplate.states import Status

CONTENT = Content(sha256="0" * 64, bytes=1)
names = st.text(min_size=1, max_size=20)
lines = st.one_of(
    st.builds(BatchLine, id=names, url=names, sealed=st.booleans()),
    st.builds(
        ItemLine,
        name=names,
        batch_id=names,
        params=st.builds(Params, dilate_pixels=st.integers(0, 100)),
        image=st.just(CONTENT),
        mask=st.just(CONTENT),
        status=st.sampled_from(Status),
        error=st.none() | st.builds(Fault, code=names, detail=names),
        output=st.none() | names,
    ),
)


def item(name: str) -> ItemLine:
    return ItemLine(name=name, batch_id="bat_1", params=Params(), image=CONTENT, mask=CONTENT)


@given(st.lists(lines, max_size=12))
def test_a_manifest_remembers_the_last_line_about_each_thing(
    tmp_path_factory: pytest.TempPathFactory, written: list
) -> None:
    out = tmp_path_factory.mktemp("out")
    with Manifest(out) as manifest:
        for line in written:
            manifest.write(line)
        batches, items = dict(manifest.batches), dict(manifest.items)
    with Manifest(out) as again:
        assert (again.batches, again.items) == (batches, items)
    assert items == {line.name: line for line in written if isinstance(line, ItemLine)}


@given(st.data())
def test_a_kill_in_the_middle_of_a_line_loses_that_line_only(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    out = tmp_path_factory.mktemp("out")
    with Manifest(out) as manifest:
        manifest.write(item("a"), item("b"))
        path = manifest.path
        before = path.stat().st_size
        manifest.write(item("c"))
    cut = data.draw(st.integers(before, path.stat().st_size - 1))
    os.truncate(path, cut)
    with Manifest(out) as manifest:
        assert sorted(manifest.items) == ["a", "b"]
        manifest.write(item("d"))
    with Manifest(out) as manifest:
        assert sorted(manifest.items) == ["a", "b", "d"]


def test_damage_inside_is_told_and_not_guessed_at(tmp_path: Path) -> None:
    with Manifest(tmp_path) as manifest:
        manifest.write(item("a"), item("b"))
    manifest.path.write_bytes(b"x" + manifest.path.read_bytes())
    with pytest.raises(ManifestError, match=r"line 1 of .* is damaged"), Manifest(tmp_path):
        pass


def test_a_second_run_is_refused_and_the_next_one_is_not(tmp_path: Path) -> None:
    with Manifest(tmp_path), pytest.raises(ManifestError, match="another run"), Manifest(tmp_path):
        pass
    with Manifest(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ManifestError, match="cannot write into"), Manifest(tmp_path / "file" / "out"):
        pass


def test_a_file_that_was_only_touched_still_holds_the_same(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(b"picture")
    content = Content.of(file)
    assert (content.bytes, content.mtime_ns) == (7, file.stat().st_mtime_ns)
    os.utime(file, ns=(1, 1))
    assert content.is_still_in(file)
    file.write_bytes(b"Picture")
    assert not content.is_still_in(file)
    file.write_bytes(b"longer picture")
    assert not content.is_still_in(file)
    file.unlink()
    assert not content.is_still_in(file)
