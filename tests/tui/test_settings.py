"""The settings file: what is read of it, what is kept in it, what is said of its damages."""

from __future__ import annotations

import math

import pytest

from mlxqwen.errors import OutputError, UsageError
from mlxqwen.generate.options import Sampling
from tui.screens import settings_rows
from tui.screens.settings_rows import Number
from tui.settings import LIMITS, SAMPLING, Settings, read_settings, write_settings

EVERYTHING = Settings(
    language="it",
    theme="nord",
    model="qwen/Qwen3-4B-4bit",
    context=8192,
    think="off",
    thoughts=False,
    notify=False,
    greeted=True,
    sampling={"temperature": 0.5, "top_k": 40, "seed": 7},
    keys={"fork": "f5", "regenerate": ""},
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "settings.toml"


def test_without_a_file_everything_is_at_its_default(path):
    assert read_settings(path).settings == Settings()
    assert read_settings(path).complaints == ()


def test_what_is_written_is_read(path):
    write_settings(path, EVERYTHING)
    opened = read_settings(path)
    assert (opened.settings, opened.complaints) == (EVERYTHING, ())


def test_defaults_are_not_written(path):
    write_settings(path, Settings(notify=False))
    assert path.read_text() == "notify = false\n"


def test_what_this_version_does_not_know_is_kept(path):
    path.parent.mkdir()
    path.write_text('colour = "red"\ntheme = "nord"\n\n[window]\nwide = true\nnames = ["a", "b"]\n')
    opened = read_settings(path)
    assert (opened.settings.theme, opened.complaints) == ("nord", ())
    write_settings(path, Settings(language="it"))
    text = path.read_text()
    assert 'colour = "red"' in text
    assert 'names = ["a", "b"]' in text
    assert "theme" not in text
    assert read_settings(path).settings == Settings(language="it")


@pytest.mark.parametrize(
    "line",
    [
        'language = "fr"',
        "theme = 3",
        "context = -1",
        "context = true",
        'think = "perhaps"',
        "keys = 1",
        "[keys]\nfork = 3",
    ],
)
def test_one_unusable_value_leaves_the_others(path, line):
    path.parent.mkdir()
    path.write_text(f"notify = false\n{line}\n")
    opened = read_settings(path)
    assert opened.settings == Settings(notify=False)
    (complaint,) = opened.complaints
    assert complaint.startswith("settings.toml: ")


@pytest.mark.parametrize(
    "line", ["temperature = -1", "top_p = 1.5", "top_k = 'x'", "warmth = 2", "top_p = nan"]
)
def test_sampling_out_of_range_is_left_out(path, line):
    path.parent.mkdir()
    path.write_text(f"[sampling]\nmin_p = 0.1\n{line}\n")
    opened = read_settings(path)
    assert opened.settings.sampling == {"min_p": 0.1}
    assert len(opened.complaints) == 1


@pytest.mark.parametrize("damage", [b"notify = ", b"\xff\xfe\x00", b"[[[", b'a = "\n"'])
def test_a_damaged_file_is_told_and_never_written_over(path, damage):
    path.parent.mkdir()
    path.write_bytes(damage)
    opened = read_settings(path)
    assert opened.settings == Settings()
    assert "cannot be read and is left as it is" in opened.complaints[0]
    with pytest.raises(OutputError, match="nothing was saved"):
        write_settings(path, EVERYTHING)
    assert path.read_bytes() == damage


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_settings(tmp_path / "file" / "settings.toml", EVERYTHING)


def test_limits_are_those_of_the_engine():
    assert set(LIMITS) == set(SAMPLING)
    for name, (low, high) in LIMITS.items():
        if name == "max_tokens":
            continue  # the engine's own, of no distribution
        Sampling(**{name: low})
        below = low - 1
        with pytest.raises(UsageError):
            Sampling(**{name: below})
        if high != math.inf:
            Sampling(**{name: high})
        if high not in (math.inf, 2**63 - 1):
            with pytest.raises(UsageError):
                Sampling(**{name: high + 1})


@pytest.mark.parametrize("value", ["1" + "0" * 400, "nan", "inf", "true", '"2"'])
def test_a_number_that_none_can_be_is_left_out(path, value):
    path.parent.mkdir()
    path.write_text(f"[sampling]\ntop_p = 0.5\nmax_tokens = {value}\n")
    opened = read_settings(path)
    assert opened.settings == Settings(sampling={"top_p": 0.5})
    assert len(opened.complaints) == 1


@pytest.mark.parametrize("text", ["1" + "0" * 400, "9" * 5000, "-1", "x"])
def test_a_number_that_none_can_be_is_refused(text):
    assert settings_rows.refusal(Number("top_k"), text)
    assert settings_rows.refusal(Number("context"), text)
    assert not settings_rows.refusal(Number("top_k"), "40")
