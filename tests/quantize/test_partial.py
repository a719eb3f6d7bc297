from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mlxqwen.errors import OutputError
from quantize.partial import MARKER, PartialFolder


def test_published_folder_has_exactly_what_was_written(tmp_path):
    output = tmp_path / "deep" / "out"
    with PartialFolder(output) as folder:
        folder.write("config.json", b"{}")
        assert not output.exists()
        folder.publish()
    assert [p.name for p in output.iterdir()] == ["config.json"]
    assert [p.name for p in output.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_an_error_leaves_nothing(tmp_path, error):
    def fail() -> None:
        with PartialFolder(tmp_path / "out") as folder:
            folder.write("a", b"1")
            raise error

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "folder", "full folder"])
def test_existing_output_is_refused_and_untouched(tmp_path, kind):
    output = tmp_path / "out"
    if kind == "file":
        output.write_bytes(b"mine")
    else:
        output.mkdir()
    if kind == "full folder":
        (output / "mine").write_bytes(b"")
    before = [p.name for p in tmp_path.rglob("*")]
    with pytest.raises(OutputError, match="exists already"), PartialFolder(output):
        pass
    assert [p.name for p in tmp_path.rglob("*")] == before


def test_foreign_partial_folder_is_refused_and_untouched(tmp_path):
    partial = tmp_path / "out.partial"
    partial.mkdir()
    (partial / "thesis.txt").write_bytes(b"mine")
    with pytest.raises(OutputError, match="not made by mlxqwen"), PartialFolder(tmp_path / "out"):
        pass
    assert (partial / "thesis.txt").read_bytes() == b"mine"


def test_link_in_place_of_the_partial_folder_is_refused(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / MARKER).write_bytes(b"")
    (elsewhere / "mine").write_bytes(b"")
    (tmp_path / "out.partial").symlink_to(elsewhere)
    with pytest.raises(OutputError, match="not made by mlxqwen"), PartialFolder(tmp_path / "out"):
        pass
    assert (elsewhere / "mine").exists()


def test_remains_without_a_journal_are_cleared(tmp_path):
    program = (
        "import os, pathlib, signal, sys; from quantize.partial import PartialFolder\n"
        "with PartialFolder(pathlib.Path(sys.argv[1])) as folder:\n"
        "    folder.write('old', b'1'); (folder.path / 'sub').mkdir()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    output = tmp_path / "out"
    assert subprocess.run([sys.executable, "-c", program, str(output)]).returncode == -9
    assert sorted(p.name for p in (tmp_path / "out.partial").iterdir()) == [
        MARKER,
        "output",
        "sub",
    ]
    with PartialFolder(output) as folder:
        folder.write("new", b"2")
        folder.publish()
    assert [p.name for p in output.iterdir()] == ["new"]


def test_second_process_is_refused_and_does_not_disturb_the_first(tmp_path):
    output = tmp_path / "out"
    with PartialFolder(output) as folder:
        folder.write("a", b"1")
        with pytest.raises(OutputError, match="another process"), PartialFolder(output):
            pass
        folder.publish()
    assert [p.name for p in output.iterdir()] == ["a"]


def test_output_that_appears_meanwhile_is_not_replaced(tmp_path):
    output = tmp_path / "out"

    def publish_late() -> None:
        with PartialFolder(output) as folder:
            output.mkdir()
            folder.publish()

    with pytest.raises(OutputError, match="exists already"):
        publish_late()
    assert list(output.iterdir()) == []
    assert not (tmp_path / "out.partial").exists()


def test_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(OutputError, match=r"out\.partial cannot be written"),
        PartialFolder(tmp_path / "file" / "out"),
    ):
        pass
    with pytest.raises(OutputError, match="exists already"), PartialFolder(type(tmp_path)("/")):
        pass


def test_relative_output_does_not_move_with_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with PartialFolder(type(tmp_path)("out")) as folder:
        os.chdir("/")
        folder.write("a", b"1")
        folder.publish()
    assert (tmp_path / "out" / "a").exists()


def begun(output, *names):
    """An unfinished folder with a journal and files."""
    with PartialFolder(output) as folder:
        folder.journal.write_bytes(b"")
        folder.source.mkdir()
        for name in names:
            folder.write(name, name.encode())
    return folder


def test_unfinished_folder_stays_with_all_that_is_in_it(tmp_path):
    begun(tmp_path / "out", "a", "b")
    with PartialFolder(tmp_path / "out") as folder:
        assert sorted(p.name for p in folder.files.iterdir()) == ["a", "b"]
        folder.keep_only({"b", "c"})
        folder.write("b", b"2")
        folder.publish()
    assert [(p.name, p.read_bytes()) for p in (tmp_path / "out").iterdir()] == [("b", b"2")]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_restart_forgets_everything(tmp_path):
    begun(tmp_path / "out", "a")
    with PartialFolder(tmp_path / "out", restart=True) as folder:
        assert list(folder.files.iterdir()) == []
        assert not folder.journal.exists()
        assert not folder.source.exists()


def test_downloads_without_a_journal_are_kept_and_known_as_ours(tmp_path):
    source = tmp_path / "out.partial" / "source"
    source.mkdir(parents=True)
    (source / "hub.json").write_bytes(b"{}")
    with PartialFolder(tmp_path / "out"):
        pass
    assert (source / "hub.json").exists()
    (source / "hub.json").rename(source / "mine.json")
    (tmp_path / "out.partial" / MARKER).unlink()
    (tmp_path / "out.partial" / "output").rmdir()
    with pytest.raises(OutputError, match="not made by mlxqwen"), PartialFolder(tmp_path / "out"):
        pass


def test_folder_that_was_published_but_not_cleared_is_finished(tmp_path):
    begun(tmp_path / "out", "a")
    (tmp_path / "out.partial" / "output").rename(tmp_path / "out")
    with PartialFolder(tmp_path / "out") as folder:
        assert folder.finished
        folder.clear()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    with pytest.raises(OutputError, match="exists already"), PartialFolder(tmp_path / "out"):
        pass


def test_file_that_cannot_be_written_is_an_error_in_words(tmp_path):
    def write() -> None:
        with PartialFolder(tmp_path / "out") as folder:
            folder.write("none/such", b"")

    with pytest.raises(OutputError, match="none/such cannot be written: No such file"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_not_ours(tmp_path):
    (tmp_path / "out.partial").write_bytes(b"mine")
    with pytest.raises(OutputError, match="not made by mlxqwen"), PartialFolder(tmp_path / "out"):
        pass
    assert (tmp_path / "out.partial").read_bytes() == b"mine"


def test_links_in_a_circle_are_refused(tmp_path):
    (tmp_path / "out").symlink_to("back")
    (tmp_path / "back").symlink_to("out")
    with pytest.raises(OutputError, match="exists already"), PartialFolder(tmp_path / "out"):
        pass
