"""Shards come one by one, late, broken or not at all; what is done is not done again."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import threading
from collections import namedtuple
from pathlib import Path

import pytest

from mlxqwen.checkpoint.directory import Directory
from mlxqwen.checkpoint.reading import read_rows
from mlxqwen.checkpoint.safetensors import SafetensorsWriter
from mlxqwen.errors import HubError, OutputError
from quantize import FAST, choose_recipe, make_plan, pipeline, quantise
from quantize.guidance import Guidance
from quantize.partial import PartialFolder
from quantize.schedule import make_schedule
from quantize.space import fetch_need
from quantize.supply import Folder


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(pipeline, "CHUNK_BYTES", 12_000)
    monkeypatch.setattr(pipeline, "BATCH_BYTES", 20_000)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.fixture
def expected(tiny, remote, tmp_path):
    """The undisturbed result."""
    with PartialFolder(tmp_path / "fresh") as folder:
        quantise(remote(tiny, folder.source), folder)
    return snapshot(tmp_path / "fresh")


def test_shards_go_as_soon_as_they_are_used(tiny, remote, tmp_path, expected):
    with PartialFolder(tmp_path / "out") as folder:
        supply = remote(tiny, folder.source)
        quantise(supply, folder)
    names = [shard.name for shard in supply.directory.shards]
    assert supply.fetches == names
    assert supply.releases == names
    assert supply.most <= 2
    assert snapshot(tmp_path / "out") == expected
    assert not (tmp_path / "out.partial").exists()


def test_slow_shards_are_waited_for_and_said(tiny, remote, tmp_path, expected):
    reports = []
    told = threading.Event()

    def tell(report) -> None:
        reports.append(report)
        if report.stage == "fetch":
            told.set()

    with PartialFolder(tmp_path / "out") as folder:
        supply = remote(tiny, folder.source, before=lambda _: told.wait(10))
        quantise(supply, folder, progress=tell)
    waits = [report for report in reports if report.stage == "fetch"]
    assert "model-00001-of-00003.safetensors" in waits[0].message
    assert waits[0].total == (tiny / "model-00001-of-00003.safetensors").stat().st_size
    assert snapshot(tmp_path / "out") == expected


def test_the_next_shard_is_fetched_while_one_is_rounded(tiny, remote, tmp_path):
    second = threading.Event()

    def before(name: str) -> None:
        if "00002" in name:
            second.set()

    def tell(report) -> None:
        if report.stage == "quantise":
            assert second.wait(10)

    with PartialFolder(tmp_path / "out") as folder:
        quantise(remote(tiny, folder.source, before=before), folder, progress=tell)
    assert second.is_set()


@pytest.mark.parametrize("broken", ["00001", "00002", "00003"])
def test_after_a_lost_network_no_shard_that_is_done_is_fetched_again(
    tiny, remote, tmp_path, expected, broken
):
    def lose(name: str) -> None:
        if broken in name:
            raise HubError("The connection was lost.", "Run the command again.")

    def attempt(before=None):
        with PartialFolder(tmp_path / "out") as folder:
            supply = remote(tiny, folder.source, before=before)
            try:
                quantise(supply, folder)
            finally:
                runs.append(supply)

    runs = []
    with pytest.raises(HubError, match="connection was lost"):
        attempt(lose)
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out.partial").exists()
    attempt()
    first, second = runs
    assert set(first.releases) & set(second.fetches) == set()
    assert set(first.fetches) | set(second.fetches) == {s.name for s in second.directory.shards}
    assert second.most <= 2
    assert snapshot(tmp_path / "out") == expected


def interrupted(source, output, stop=lambda report: report.shards_done >= 1, **options) -> None:
    def interrupt(report) -> None:
        if stop(report):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantise(source, output, progress=interrupt, **options)
    assert (output.parent / f"{output.name}.partial" / "journal").exists()


def test_a_disk_that_lied_is_found_and_the_batch_redone(tiny, tmp_path):
    interrupted(tiny, tmp_path / "out", lambda report: report.stage == "publish")
    weights = tmp_path / "out.partial" / "output" / "model.safetensors"
    with weights.open("r+b") as file:
        file.seek(-500, 2)
        file.write(bytes(300))
    reports = []
    quantise(tiny, tmp_path / "out", progress=reports.append)
    quantise(tiny, tmp_path / "fresh")
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "fresh")
    assert {report.stage for report in reports} >= {"check", "quantise"}
    last = reports[-1]
    assert 0 < last.bytes_resumed < last.bytes_read == last.bytes_read_total


def test_what_an_earlier_run_did_is_counted_and_not_done_again(tiny, tmp_path):
    interrupted(tiny, tmp_path / "out", lambda report: report.stage == "publish")
    reports = []
    quantise(tiny, tmp_path / "out", progress=reports.append)
    assert {report.stage for report in reports} == {"plan", "check", "publish"}
    assert reports[-1].bytes_resumed == reports[-1].bytes_read_total


def test_another_recipe_is_refused_until_restart(tiny, tmp_path):
    interrupted(tiny, tmp_path / "out")
    eight = choose_recipe(None, "fast", bits=8)
    with pytest.raises(OutputError, match=r"choices of recipe fast.*--restart"):
        quantise(tiny, tmp_path / "out", recipe=eight)
    quantise(tiny, tmp_path / "out", recipe=eight, restart=True)
    quantise(tiny, tmp_path / "fresh", recipe=eight)
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "fresh")


def test_a_changed_source_is_refused(tiny, tmp_path):
    interrupted(tiny, tmp_path / "out")
    shard = tiny / "model-00002-of-00003.safetensors"
    shard.write_bytes(shard.read_bytes())
    with pytest.raises(OutputError, match=r"the source's files.*--restart"):
        quantise(tiny, tmp_path / "out")


def test_other_versions_and_other_guidance_are_refused(tiny, tmp_path, monkeypatch):
    interrupted(tiny, tmp_path / "out")
    with pytest.raises(OutputError, match="what calibration gave"):
        quantise(tiny, tmp_path / "out", guidance=Guidance(identity="other"))
    with monkeypatch.context() as other:
        other.setattr(pipeline, "__version__", "9.9")
        with pytest.raises(OutputError, match=r"mlxqwen \(.* → 9\.9\)"):
            quantise(tiny, tmp_path / "out")
    monkeypatch.setattr(pipeline.metadata, "version", lambda _: "9.9.9")
    with pytest.raises(OutputError, match=r"MLX \(.* → 9\.9\.9\)"):
        quantise(tiny, tmp_path / "out")


def test_a_hub_source_names_the_old_and_the_new_commit(tiny, remote, tmp_path):
    def run(**options) -> None:
        with PartialFolder(tmp_path / "out") as folder:
            quantise(remote(tiny, folder.source, **options), folder)

    def lose(name: str) -> None:
        raise HubError("The connection was lost.")

    with pytest.raises(HubError):
        run(before=lose)
    with pytest.raises(OutputError, match=r"the source's revision \(c0ffee → decade\)"):
        run(revision="decade", identity="new")


def test_a_finished_result_of_the_same_order_is_said_to_be_done(tiny, tmp_path):
    quantise(tiny, tmp_path / "out")
    with pytest.raises(OutputError, match="finished already, from this very source with recipe"):
        quantise(tiny, tmp_path / "out")
    with pytest.raises(OutputError, match="exists already: source, finished with recipe fast"):
        quantise(tiny, tmp_path / "out", recipe=choose_recipe(None, "fast", bits=8))
    assert [p.name for p in tmp_path.iterdir() if "out" in p.name] == ["out"]


def test_a_run_that_died_after_the_rename_only_clears_up(tiny, tmp_path):
    interrupted(tiny, tmp_path / "out")
    quantise(tiny, tmp_path / "fresh")
    shutil.rmtree(tmp_path / "out.partial" / "output")
    (tmp_path / "fresh").rename(tmp_path / "out")
    before = snapshot(tmp_path / "out")
    result = quantise(tiny, tmp_path / "out")
    assert result.path == tmp_path / "out"
    assert snapshot(tmp_path / "out") == before
    assert not (tmp_path / "out.partial").exists()


def test_stray_files_among_the_models_files_do_not_get_out(tiny, tmp_path):
    interrupted(tiny, tmp_path / "out")
    files = tmp_path / "out.partial" / "output"
    (files / "model-stray.safetensors").write_bytes(b"of another plan")
    quantise(tiny, tmp_path / "out")
    quantise(tiny, tmp_path / "fresh")
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "fresh")


def test_room_is_counted_for_output_and_two_shards(tiny, remote, tmp_path, monkeypatch):
    sizes = sorted(p.stat().st_size for p in tiny.glob("*.safetensors"))
    assert fetch_need(remote(tiny, tmp_path / "none")) == sum(sizes[1:])
    assert fetch_need(remote(tiny, tmp_path / "none", discards=False)) == sum(sizes)
    assert fetch_need(Folder.open(tiny)) == 0
    plan = make_plan(Directory.open(tiny), FAST)
    generation = (tiny / "generation_config.json").stat().st_size
    need = plan.output_bytes + generation + sum(sizes[1:])
    usage = namedtuple("usage", "total used free")
    for free, enough in ((need, True), (need - 1, False)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage(free, 0, free))
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(PartialFolder(tmp_path / f"out{free}"))
            if not enough:
                stack.enter_context(pytest.raises(OutputError, match="output and download need"))
            quantise(remote(tiny, folder.source), folder)


def test_what_is_reserved_already_is_not_asked_for_again(tiny, tmp_path, monkeypatch):
    interrupted(tiny, tmp_path / "out")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 1000))
    quantise(tiny, tmp_path / "out")
    with pytest.raises(OutputError, match="the output needs"):
        quantise(tiny, tmp_path / "other")


def test_notes_and_errors_are_in_the_manifest_and_the_same_after_resuming(tiny, tmp_path):
    notes = {"calibration": {"tokens": 5}}
    interrupted(tiny, tmp_path / "out", notes=notes)
    quantise(tiny, tmp_path / "out", notes=notes)
    quantise(tiny, tmp_path / "fresh", notes=notes)
    told = json.loads((tmp_path / "out" / "mlxqwen.json").read_text())
    assert told == json.loads((tmp_path / "fresh" / "mlxqwen.json").read_text())
    assert told["notes"] == notes
    errors = told["tensors"]["model.layers.0.mlp.switch_mlp.up_proj"]
    assert 0.001 < errors["relative_mse"] < 0.02
    assert errors["sampled"] == 4 * 64


def split(source: Path, folder: Path) -> list[str]:
    """The same checkpoint with every other layer's FP8 scales one shard after their codes."""
    folder.mkdir()
    found = Directory.open(source)
    names = [f"model-{number:05d}-of-00004.safetensors" for number in range(1, 5)]
    files = {name: [] for name in names}
    for position, (name, info) in enumerate(sorted(found.tensors.items())):
        place = position * 3 // len(found.tensors)
        late = name.endswith("_scale_inv") and position % 4 < 2
        files[names[place + late]].append(info)
    for name, infos in files.items():
        tensors = [(info.name, info.dtype, info.shape) for info in infos]
        with SafetensorsWriter(folder / name, tensors, {}) as writer:
            for info in infos:
                writer.write(info.name, read_rows(info, 0, info.rows))
    shutil.copy(source / "config.json", folder)
    return names


def test_scales_in_a_later_shard_than_their_codes(remote, tmp_path, monkeypatch):
    golden = str(Path(__file__).parents[1] / "golden")
    monkeypatch.setattr(sys, "path", [golden, *sys.path])
    from cases import CASES, CASES_NEXT
    from checkpoints import write

    case = next(case for case in CASES + CASES_NEXT if case.name == "fp8_moe")
    write(case, tmp_path / "source")
    names = split(tmp_path / "source", tmp_path / "split")
    quantise(tmp_path / "source", tmp_path / "whole")
    with PartialFolder(tmp_path / "out") as folder:
        supply = remote(tmp_path / "split", folder.source)
        quantise(supply, folder)
    assert supply.fetches == supply.releases == names
    assert supply.most <= 2
    schedule = make_schedule(
        make_plan(supply.directory, FAST),
        supply.directory.shards,
        chunk_bytes=12_000,
        batch_bytes=20_000,
    )
    assert [len(batch.needs) for batch in schedule].count(2) >= 3
    weights = "model.safetensors"
    assert (tmp_path / "out" / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()
