from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from mlxqwen.measure.doctor import Finding, Report, examine
from mlxqwen.measure.machine import Machine, Mlx, existing, probe_mlx
from mlxqwen.measure.tables import report_table
from mlxqwen.model.verdicts import Verdict, remember

MacWith = Callable[..., Machine]


def found(report: Report, name: str) -> Finding:
    (finding,) = (finding for finding in report.findings if finding.name == name)
    return finding


def problems(report: Report) -> set[str]:
    return {finding.name for finding in report.findings if finding.state == "problem"}


def test_a_good_mac_has_nothing_to_do(mac: Machine, tmp_path: Path) -> None:
    report = examine(mac, store=tmp_path / "new" / "conversations.sqlite3")
    assert report.healthy
    assert [finding for finding in report.findings if finding.state != "ok"] == []
    assert [finding for finding in report.findings if finding.remedy] == []


def test_a_rosetta_python_is_named_with_its_remedy(mac_with: MacWith) -> None:
    machine = mac_with(
        architecture="x86_64", translated=True, mlx=Mlx(error="No module named 'mlx.core'")
    )
    report = examine(machine)
    assert not report.healthy
    python = found(report, "Python")
    assert python.state == "problem"
    assert "Rosetta" in python.value
    assert "Apple Silicon" in python.remedy
    assert found(report, "processor").state == "ok"
    assert "Python" in found(report, "MLX").remedy


def test_an_intel_python_is_a_problem_even_where_the_translation_is_hidden(
    mac_with: MacWith,
) -> None:
    python = found(examine(mac_with(architecture="x86_64")), "Python")
    assert python.state == "problem"
    assert "Rosetta" not in python.value


def test_an_intel_mac_has_no_remedy(mac_with: MacWith) -> None:
    machine = mac_with(
        architecture="x86_64",
        apple_silicon=False,
        chip="Intel(R) Core(TM) i7",
        mlx=Mlx(error="No module named 'mlx'"),
    )
    report = examine(machine)
    processor = found(report, "processor")
    assert processor.state == "problem"
    assert "no remedy" in processor.remedy
    # Python is right for that Mac: only one thing is wrong with it.
    assert found(report, "Python").state == "ok"
    assert problems(report) == {"processor", "MLX"}


@pytest.mark.parametrize(
    ("release", "state"),
    [
        ("12.7.6", "problem"),
        ("13.6", "problem"),
        ("14.0", "ok"),
        ("14", "ok"),
        ("26.1", "ok"),
        ("15.2beta", "ok"),
    ],
)
def test_macos_must_be_new_enough_for_mlx(mac_with: MacWith, release: str, state: str) -> None:
    system = found(examine(mac_with(release=release)), "system")
    assert system.state == state
    assert ("14.0" in system.remedy) is (state == "problem")


@pytest.mark.parametrize(
    ("facts", "remedy"),
    [
        ({"release": "13.6"}, "see the remedy for the system"),
        ({"packages": {}}, "Install mlxqwen again"),
        ({}, "--force-reinstall mlx"),
        (
            {"system": "Linux", "release": "Debian", "packages": {"mlx": "0.32.4"}},
            "mlx[cpu]",
        ),
    ],
)
def test_an_mlx_that_cannot_be_loaded_is_a_finding(
    mac_with: MacWith, facts: dict[str, object], remedy: str
) -> None:
    machine = mac_with(mlx=Mlx(error="symbol not found"), **facts)
    finding = found(examine(machine), "MLX")
    assert finding.state == "problem"
    assert "symbol not found" in finding.value
    assert remedy in finding.remedy


def test_apple_silicon_without_metal_is_a_problem(mac_with: MacWith) -> None:
    report = examine(mac_with(mlx=Mlx("0.32.4", "cpu", "Apple M3", 0.0)))
    assert problems(report) == {"device"}


@pytest.mark.parametrize(
    ("error", "wrong"), [(0.0, False), (1e-3, False), (0.5, True), (float("nan"), True)]
)
def test_wrong_arithmetic_is_a_problem(mac_with: MacWith, error: float, wrong: bool) -> None:
    report = examine(mac_with(mlx=Mlx("0.32.4", "metal", "Apple M3", error)))
    assert (problems(report) == {"arithmetic"}) is wrong


def test_two_backends_at_once_are_a_problem(mac: Machine, mac_with: MacWith) -> None:
    both = {**mac.packages, "mlx-cpu": "0.32.4", "mlx-cuda-13": "0.32.4"}
    report = examine(mac_with(system="Linux", release="Debian", packages=both))
    assert "pip uninstall mlx-cpu" in found(report, "MLX backends").remedy


def test_an_old_python_is_a_problem(mac_with: MacWith) -> None:
    assert problems(examine(mac_with(python=(3, 10, 12)))) == {"Python"}


def test_a_missing_library_is_named(mac: Machine, mac_with: MacWith) -> None:
    report = examine(mac_with(packages={**mac.packages, "tokenizers": None}))
    assert found(report, "libraries").value == "missing: tokenizers"
    assert problems(report) == {"libraries"}


def test_little_memory_and_disk_are_notes(mac_with: MacWith) -> None:
    report = examine(mac_with(memory=4 << 30, budget=2 << 30, free=10**9))
    assert report.healthy
    assert found(report, "memory").state == "note"
    assert found(report, "memory").value == "4.0 GB, of which a model may take 2.0 GB"
    assert found(report, "disk").state == "note"


@pytest.mark.parametrize(
    ("models", "state"), [((), "problem"), (("guide",), "note"), (("guide", "mine"), "ok")]
)
def test_models_are_counted(mac_with: MacWith, models: tuple[str, ...], state: str) -> None:
    assert found(examine(mac_with(models=models)), "models").state == state


@pytest.mark.parametrize(
    ("terminal", "says", "state"),
    [
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "16 million", "ok"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}, "256", "ok"),
        ({"TERM": "xterm"}, "16 colours", "note"),
        ({"TERM": "xterm", "NO_COLOR": "1"}, "NO_COLOR", "note"),
        ({"TERM": "dumb"}, "dumb", "note"),
        ({}, "unknown", "note"),
    ],
)
def test_colours_of_the_terminal(
    mac_with: MacWith, terminal: dict[str, str], says: str, state: str
) -> None:
    finding = found(examine(mac_with(terminal=terminal)), "terminal")
    assert says in finding.value
    assert finding.state == state


def test_a_store_that_cannot_be_written_is_a_problem(
    mac: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    report = examine(mac, store=tmp_path / "conversations.sqlite3")
    assert problems(report) == {"conversations"}
    assert str(tmp_path) in found(report, "conversations").remedy


def test_this_machine_can_be_examined() -> None:
    machine = Machine.here()
    assert machine.mlx.error == ""
    assert machine.memory >= machine.budget > 0
    report = examine(machine)
    assert {"system", "Python", "MLX", "device", "memory"} <= {one.name for one in report.findings}
    assert report.to_json()["healthy"] is report.healthy


def test_examining_loads_no_mlx_here() -> None:
    code = (
        "import sys\nfrom mlxqwen.measure.doctor import examine\nexamine()\n"
        "assert not {name for name in sys.modules if name.partition('.')[0] == 'mlx'}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import os; os.abort()", "signal 6"),
        ("raise ImportError('built for another system')", "built for another system"),
        ("raise SystemExit(3)", "exit status 3"),
        ("pass", "exit status 0"),
    ],
)
def test_whatever_ends_the_probe_is_told(code: str, says: str) -> None:
    probed = probe_mlx(("-c", code))
    assert says in probed.error
    assert probed.version == ""


def test_the_nearest_existing_folder(tmp_path: Path) -> None:
    assert existing(tmp_path / "a" / "b") == tmp_path
    assert existing(tmp_path) == tmp_path


def test_the_table_shows_values_as_they_are(mac_with: MacWith) -> None:
    report = examine(mac_with(chip="[red]odd[/red]", release="13.1"))
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(report_table(report))
    shown = console.export_text()
    assert "[red]odd[/red]" in shown
    assert "→ MLX needs macOS 14.0" in shown


def test_verdicts_on_kernels_are_told(mac: Machine, tmp_path: Path) -> None:
    record = tmp_path / "kernels.json"
    assert "not tried yet" in found(examine(mac, record=record), "kernels").value
    key = "Apple M4 Max | MLX 0.32.4 | qwen3_moe | 0123456789ab | bfloat16 | experts"
    slower = Verdict("experts", False, "the plain operations are faster", 1e-3, 41.2, 55.0)
    remember(record, {key: slower})
    told = found(examine(mac, record=record), "kernels")
    assert told.state == "note"
    assert told.value == (
        "experts of qwen3_moe on Apple M4 Max: not used, the plain operations are faster, "
        "55 µs against 41 µs"
    )
