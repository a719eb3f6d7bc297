from __future__ import annotations

import pytest

from mlxqwen.checkpoint.directory import Directory
from quantize import FAST, make_plan, quantise
from quantize.card import known_base, model_card, source_licence
from quantize.supply import Folder


def test_card_names_base_licence_and_widths(make, tmp_path):
    source = make(moe=True, moe_intermediate_size=96, _name_or_path="Qwen/Qwen3-Tiny")
    (source / "README.md").write_text(
        "---\nlibrary_name: transformers\nlicense: apache-2.0\n"
        "license_link: https://huggingface.co/Qwen/LICENSE\ntags: [x]\n---\n# Tiny\n"
    )
    quantise(source, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    front = card.split("---\n")[1].splitlines()
    assert front == [
        "library_name: mlx",
        "pipeline_tag: text-generation",
        "license: apache-2.0",
        "license_link: https://huggingface.co/Qwen/LICENSE",
        "base_model: Qwen/Qwen3-Tiny",
        "base_model_relation: quantized",
        "tags:",
        "- mlx",
        "- 4-bit",
    ]
    assert "affine 4-bit in groups of 64; 2 modules with another width, 2 left unquantised" in card
    assert str(tmp_path) not in card
    assert "Recipe fast: affine 4-bit in groups of 64" in card
    errors = [line.split("|")[1:-1] for line in card.splitlines() if line.startswith("| `")]
    assert len(errors) == 5
    assert all(0 < float(row[2].strip(" %")) < 5 for row in errors)


def test_base_model_from_the_cache_folder(tmp_path):
    def base(path, **config: object) -> str | None:
        return known_base(Directory(path, config, {}, {}, ()))

    snapshot = tmp_path / "models--Qwen--Qwen3-0.6B" / "snapshots" / "abc"
    assert base(snapshot) == "Qwen/Qwen3-0.6B"
    assert base(tmp_path, _name_or_path="../local/path") is None
    assert base(tmp_path, _name_or_path=7) is None


def test_card_of_a_hub_source_names_its_commit(make):
    directory = Directory.open(make())

    class Hub(Folder):
        name = "Qwen/Qwen3-Tiny"
        revision = "0123abc"

    supply = Hub(directory, "")
    card = model_card(supply, make_plan(directory, FAST), {})
    assert "base_model: Qwen/Qwen3-Tiny" in card
    assert "[Qwen/Qwen3-Tiny](https://huggingface.co/Qwen/Qwen3-Tiny) at commit `0123abc`" in card


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("# no front matter\nlicense: mit\n", {}),
        ("---\nlicense: mit\nnever closed\n", {}),
        ('---\nlicense: "mit"\n---\n', {"license": "mit"}),
        ("---\nlicense: [a, b]\n---\n", {}),
        ("---\nlicense: a: b\n---\n", {}),
        ("---\nlicense_name: qwen\n---\nlicense: mit\n", {"license_name": "qwen"}),
        ("", {}),
    ],
)
def test_licence_of_the_source_card(tmp_path, text, found):
    (tmp_path / "README.md").write_text(text)
    assert source_licence(tmp_path) == found


def test_no_card_no_licence(tmp_path):
    assert source_licence(tmp_path) == {}


@pytest.mark.parametrize("name", ["../etc", "-x/y", "a/..", "x/y\n"])
def test_what_is_no_hub_id_is_no_base(tmp_path, name):
    assert known_base(Directory(tmp_path, {"_name_or_path": name}, {}, {}, ())) is None
