"""What may go with a question, what is refused and why, and what of a folder is left out."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from mlxqwen.errors import UsageError
from tui import attachments
from tui.attachments import dropped, is_long, pasted, read
from tui.ignored import Ignored
from tui.words import use


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("perché 量子 🙂\r\nzwei\rdrei".encode(), "perché 量子 🙂\nzwei\ndrei"),
        ("\ufeffmark".encode(), "mark"),
        ("perché".encode("utf-16"), "perché"),
        ("perché".encode("utf-16-be").join([b"\xfe\xff", b""]), "perché"),
        ("perché, più".encode("latin-1"), "perché, più"),
        (b"\x1b[31mred\x1b[0m log\n", "\x1b[31mred\x1b[0m log\n"),
        (b"BMW and BM25 are words", "BMW and BM25 are words"),
    ],
)
def test_text_in_every_usual_encoding(tmp_path, data, text):
    path = tmp_path / "notes.txt"
    path.write_bytes(data)
    found = read(path)
    assert (found.name, found.text, found.files) == ("notes.txt", text, 1)
    assert found.size == len(text.encode())
    assert found.tokens == -(-found.size // 4)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n\x00\x00", "is an image"),
        ("a.txt", b"\xff\xd8\xff\xe0\x00\x10JFIF", "is an image"),
        ("a.webp", b"RIFF\x10\x00\x00\x00WEBPVP8 ", "is an image"),
        ("a.bmp", b"BM6\x00\x00\x00", "is an image"),
        ("a.pdf", b"%PDF-1.7\n", "is a PDF"),
        ("a.bin", b"ELF\x00\x01\x02", "is not text"),
        ("a.dat", bytes(range(128, 256)) + bytes(range(1, 32)), "is not text"),
        ("a.md", b" \n\t", "is empty"),
        ("a.log", b"x" * (attachments.FILE_BYTES + 1), "is larger than 2000 kB"),
        ("odd.txt", b"\xff\xfe\x00", "is not text"),
    ],
)
def test_what_is_no_text_is_refused_with_the_reason(tmp_path, name, data, reason):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(UsageError, match=reason) as error:
        read(path)
    assert name in str(error.value)


def test_what_is_not_there_or_no_file(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        read(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="neither a file nor a folder"):
        read(tmp_path / "pipe")
    with pytest.raises(UsageError) as error:
        read(tmp_path / "bad\x1b]0;name")
    assert "\x1b" not in str(error.value)


def test_reasons_are_given_in_the_language_spoken(tmp_path):
    (tmp_path / "a.md").touch()
    use("it")
    try:
        with pytest.raises(UsageError, match="è vuoto"):
            read(tmp_path / "a.md")
    finally:
        use("en")


def tree(root: Path, **files: str | bytes) -> None:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)


def test_a_folder_is_its_text_files_and_says_what_it_left_out(tmp_path):
    root = tmp_path / "project"
    tree(
        root,
        **{
            "main.py": "print(1)\n",
            "docs/guide.md": "# Guide\n",
            "docs/logo.png": b"\x89PNG\r\n\x1a\n\x00",
            "docs/big.csv": "1,2,3\n" * 60_000,
            ".git/config": "secret",
            ".env": "TOKEN=1",
            "build/out.txt": "made",
            "sub/keep.log": "kept",
            "sub/drop.log": "dropped",
            "sub/tmp/x.txt": "x",
            "node_modules/left/index.js": "x",
            ".gitignore": "# made\n/build/\n*.log\n!keep.log\n",
            "sub/.gitignore": "tmp\n",
        },
    )
    (root / "link.txt").symlink_to(root / "main.py")
    found = read(root)
    assert (found.name, found.files) == ("project/", 3)
    assert found.text == (
        "--- main.py ---\nprint(1)\n\n--- docs/guide.md ---\n# Guide\n\n"
        "--- sub/keep.log ---\nkept\n"
    )
    assert list(found.skipped) == [
        "build/ (ignored)",
        "node_modules/ (ignored)",
        "link.txt (a link, not a file)",
        "docs/big.csv is larger than 256 kB.",
        "docs/logo.png is an image: the Qwen3 models run here read text only.",
        "sub/tmp/ (ignored)",
        "sub/drop.log (ignored)",
    ]


def test_a_folder_has_its_limits(tmp_path, monkeypatch):
    tree(tmp_path / "many", **{f"{n}.txt": "x" * 100 for n in range(6)})
    monkeypatch.setattr(attachments, "FOLDER_FILES", 4)
    found = read(tmp_path / "many")
    assert (found.files, found.skipped) == (4, ("everything after the first 4 files",))
    monkeypatch.setattr(attachments, "FOLDER_BYTES", 250)
    assert read(tmp_path / "many").files == 2
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match="none/ contains no text"):
        read(tmp_path / "none")
    with pytest.raises(UsageError, match="~nobody-of-that-name"):
        read(Path("~nobody-of-that-name/notes.md"))


def test_dragged_files_are_recognised_and_nothing_else_is(tmp_path, monkeypatch):
    one, two = tmp_path / "with space.txt", tmp_path / "ünd'quote.md"
    one.write_text("1")
    two.write_text("2")
    monkeypatch.setenv("HOME", str(tmp_path))
    spaced = str(one).replace(" ", "\\ ")
    assert dropped(str(one)) == [one]
    assert dropped(f"{spaced} ") == [one]
    assert dropped(f"'{one}'\n") == [one]
    assert dropped(f'{spaced} "{two}"') == [one, two]
    assert dropped(one.as_uri()) == [one]
    assert dropped("~/with\\ space.txt") == [one]
    assert dropped(str(tmp_path)) == [tmp_path]
    for text in (f"look at {spaced}", f"{spaced} please", "/nothing/here", "", "with space.txt",
                 f"{tmp_path} ~nobody-of-that-name",
                 f"'{one}", "/" + "x" * 5000, "/\x00", "file:///nothing"):  # fmt: skip
        assert dropped(text) == []


def test_long_pastes():
    assert not is_long("x" * 20_000)
    assert is_long("x" * 20_001)
    assert is_long("量" * 7000)
    assert pasted("abc", 2).name == "paste 2"
    assert pasted("\ud800", 1).size == 1


def test_a_name_that_is_no_text_is_made_one(tmp_path):
    odd = tmp_path / os.fsdecode(b"a\xff\x1b\n.txt")
    odd.write_text("x")
    assert read(odd).name == "a\ufffd\u241b .txt"
    folder = tmp_path / os.fsdecode(b"f\xff")
    folder.mkdir()
    (folder / "b").write_text("x")
    assert read(folder).name == "f\ufffd/"


@pytest.mark.parametrize(
    ("rule", "name", "matches"),
    [
        ("*.py", "a.py", True),
        ("a*b*c", "aXbYbZc", True),
        ("a*b*c", "aXbYbZ", False),
        ("**/x/*.txt", "q/w/x/a.txt", True),
        ("docs/**", "docs/a/b", True),
        ("docs/**", "docs", False),
        ("a/**/b", "a/b", True),
        ("a/**/b", "a/x/y/b", True),
        ("a/**/b", "ab", False),
        ("/foo**bar", "foo/bar", False),
        ("*a/b*c", "qa/bxc", True),
        ("*a/b*c", "q/bxc", False),
        ("?a*", "xabc", True),
        ("*a?", "xaay", True),
        ("*ab*/**/*c", "xab/y/z/c", True),
    ],
)
def test_rules_of_gitignore(tmp_path, rule, name, matches):
    (tmp_path / ".gitignore").write_text(rule)
    ignored = Ignored(tmp_path)
    ignored.enter(tmp_path)
    assert ignored.matches(tmp_path / name, folder=False) == matches


def test_a_hostile_gitignore_takes_no_time(tmp_path):
    rules = ["*a" * 60 + "b", "a**" * 60 + "/b", "**/a*/" * 12 + "b"]
    (tmp_path / ".gitignore").write_text("\n".join(rules))
    ignored = Ignored(tmp_path)
    ignored.enter(tmp_path)
    began = time.monotonic()
    assert not ignored.matches(tmp_path / ("a" * 250), folder=False)
    assert not ignored.matches(tmp_path / ("a/" * 100 + "c"), folder=False)
    assert time.monotonic() - began < 1
