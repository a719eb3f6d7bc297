"""``mlxqwen quantize`` as shells and programs see it: arguments, plans, events, Ctrl-C, the hub."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from hashlib import sha256

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from tui.commands.root import app

CLI = [sys.executable, "-m", "tui.cli"]
BIG = {
    "model_type": "qwen3",
    "hidden_size": 512,
    "intermediate_size": 1536,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "num_hidden_layers": 6,
    "head_dim": 64,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10_000.0,
    "vocab_size": 258,
    "torch_dtype": "float32",
}


@pytest.fixture
def env(tmp_path, monkeypatch):
    settings = {
        "MLXQWEN_HOME": str(tmp_path / "own"),
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "HOME": str(tmp_path),
        "COLUMNS": "100",
        "NO_COLOR": "1",
    }
    (tmp_path / "own").mkdir()
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLXQWEN_DEBUG", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(env):
    """The command in this process, where nothing depends on its being one of its own."""
    runner = CliRunner()

    def call(*arguments):
        done = runner.invoke(app, [*map(str, arguments)], prog_name="mlxqwen")
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        done.returncode = done.exit_code
        return done

    return call


@pytest.fixture
def execute(env):
    """The command as a process."""

    def call(*arguments, **settings):
        command = [*CLI, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, **settings)

    return call


@pytest.fixture
def tiny(home):
    return home / "models" / "tiny"


def save(folder, config, like, shards=1):
    """A checkpoint with random weights and the tokenizer of ``like``."""
    import mlx.core as mx

    from mlxqwen.checkpoint.expected import expected_tensors
    from mlxqwen.model.config import ModelConfig

    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((like / name).read_bytes())
    shapes = list(expected_tensors(ModelConfig.parse(config)))
    keys = mx.random.split(mx.random.key(3), len(shapes))
    tensors = {
        name: mx.random.normal(shape, key=key) * 0.1
        for (name, shape), key in zip(shapes, keys, strict=True)
    }
    weight_map = {}
    for index in range(shards):
        file = f"model-{index + 1:05}-of-{shards:05}.safetensors"
        part = dict(list(tensors.items())[index::shards])
        mx.save_safetensors(str(folder / file), part, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture(scope="session")
def big(home, tmp_path_factory):
    """76 MB, which takes a while to round with searched scales."""
    folder = tmp_path_factory.mktemp("big") / "big"
    return save(folder, BIG, home / "models" / "tiny", shards=3)


def events(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def files_of(folder):
    return {file.name: sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def test_a_folder_becomes_a_model_of_our_own(run, execute, tiny, tmp_path):
    done = execute("quantize", tiny)
    assert done.returncode == 0, done.stderr
    output = tmp_path / "own" / "models" / "tiny-4bit"
    assert done.stdout.startswith(f"{output}: ")
    assert "bits per weight" in done.stdout
    assert done.stderr == ""
    listed = {model["name"] for model in json.loads(run("models", "--json").stdout)}
    assert "tiny-4bit" in listed
    assert run("verify", "tiny-4bit").returncode == 0
    again = run("quantize", tiny)
    assert again.returncode == 1
    assert "exists already" in again.stderr


def test_both_spellings(run, tiny, tmp_path):
    for number, name in enumerate(("quantize", "quantise")):
        assert run(name, tiny, "-o", tmp_path / str(number)).returncode == 0
    assert files_of(tmp_path / "0") == files_of(tmp_path / "1")


@pytest.mark.parametrize(
    ("options", "bits", "spec"),
    [
        ([], 4, {"bits": 4, "group_size": 64, "mode": "affine"}),
        (["--recipe", "fast"], 4, {"bits": 4, "group_size": 64, "mode": "affine"}),
        (["--bits", "3", "--group-size", "32"], 3, {"bits": 3, "group_size": 32}),
        (["--mode", "mxfp4"], 4, {"bits": 4, "group_size": 32, "mode": "mxfp4"}),
        (["--mode", "nvfp4"], 4, {"bits": 4, "group_size": 16, "mode": "nvfp4"}),
        (["--recipe", "balanced", "--bits", "8"], 8, {"bits": 8, "group_size": 64}),
    ],
)
def test_what_the_options_choose(run, tiny, tmp_path, options, bits, spec):
    done = run("quantize", tiny, *options)
    assert done.returncode == 0, done.stderr
    output = tmp_path / "own" / "models" / f"tiny-{bits}bit"
    block = json.loads((output / "config.json").read_text())["quantization"]
    assert spec.items() <= block.items()


def test_best_reads_the_text_it_is_given(run, tiny, tmp_path):
    text = tmp_path / "mine.txt"
    text.write_text("Water boils at 100 degrees; why does it, and where? " * 40)
    done = run("quantize", tiny, "--recipe", "best", "--calibration", text, "--json")
    assert done.returncode == 0, done.stderr
    stages = {event["stage"] for event in events(done) if event["event"] == "progress"}
    assert {"calibrate", "refine", "quantise"} <= stages
    output = tmp_path / "own" / "models" / "tiny-4bit"
    manifest = json.loads((output / "mlxqwen.json").read_text())
    assert manifest["recipe"]["name"] == "best"
    assert manifest["recipe"]["guidance"]
    missing = run("quantize", tiny, "--recipe", "best", "--calibration", "none.txt", "-o", "x")
    assert missing.returncode == 2
    assert "none.txt" in missing.stderr
    assert not (tmp_path / "x.partial").exists()


def test_fit_stays_within_what_it_was_given(run, tiny, tmp_path):
    done = run("quantize", tiny, "--fit", "120kB", "--context", "64", "--json")
    assert done.returncode == 0, done.stderr
    plan = next(event for event in events(done) if event["event"] == "plan")
    fit = plan["fit"]
    assert fit["budget"] == 120_000
    assert fit["weights"] + fit["cache"] + fit["reserve"] == fit["total"] <= 120_000
    assert fit["context"] == 64
    output = tmp_path / "own" / "models" / "tiny-120kB"
    assert output.is_dir()
    assert json.loads((output / "mlxqwen.json").read_text())["notes"]["fit"]["bytes"] == 120_000
    small = run("quantize", tiny, "--fit", "1kB")
    assert small.returncode == 1
    assert "It takes --fit" in small.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--recipe", "best", "--fit", "1GB"], "--fit chooses the bits"),
        (["--bits", "4", "--fit", "1GB"], "--bits"),
        (["--group-size", "64", "--fit", "1GB"], "--group-size"),
        (["--mode", "mxfp4", "--fit", "1GB"], "--mode"),
        (["--mode", "mxfp4", "--recipe", "best"], "--mode mxfp4"),
        (["--mode", "int4"], "no mode 'int4'"),
        (["--bits", "7"], "It has bits"),
        (["--calibration", "text.txt"], "--calibration goes with"),
        (["--context", "32k"], "--context goes with"),
        (["--fit", "much"], "'much'"),
        (["--fit", "1GB", "--context", "long"], "'long'"),
        (["--dry-run", "--restart"], "--restart"),
        (["--discard-source"], "is a folder"),
        (["--discard-source", "--recipe", "best"], "whole source"),
        (["--recipe", "perfect"], "perfect"),
    ],
)
def test_what_does_not_go_together(run, tiny, tmp_path, options, words):
    done = run("quantize", tiny, *options)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list((tmp_path / "own").iterdir()) == []


def test_an_error_is_an_event_too(run, tiny, tmp_path):
    done = run("quantize", tiny, "--fit", "1kB", "--json")
    assert done.returncode == 1
    last = events(done)[-1]
    assert (last["event"], last["kind"]) == ("error", "DoesNotFit")
    assert last["what"]
    assert "--fit" in last["hint"]
    assert last["what"] in done.stderr
    wrong = run("quantize", tiny, "--fit", "1kB", "--bits", "4", "--json")
    assert wrong.returncode == 2
    assert events(wrong)[-1]["kind"] == "UsageError"


def test_a_dry_run_writes_nothing(run, tiny, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    done = run("quantize", tiny, "--dry-run")
    assert done.returncode == 0, done.stderr
    for words in (
        "mlp.gate_proj",
        "96×64",
        "4 bits, groups of 64",
        "norms",
        "bits per weight",
        "needed",
        "free at",
        "to run it with 8k tokens",
        "searched scales",
    ):
        assert words in done.stdout, words
    assert sorted(tmp_path.rglob("*")) == before


def test_the_plan_is_what_comes_out(run, tiny, tmp_path):
    (plan,) = events(run("quantize", tiny, "--dry-run", "--json", "-o", "out"))
    assert plan["event"] == "plan"
    assert sum(group["count"] for group in plan["groups"]) == 24
    done = events(run("quantize", tiny, "--json", "-o", "out"))[-1]
    assert done["nbytes"] == plan["output_bytes"]
    assert done["bits_per_weight"] == pytest.approx(plan["bits_per_weight"], abs=1e-3)
    written = sum(file.stat().st_size for file in (tmp_path / "out").iterdir())
    assert plan["output_bytes"] < written <= plan["disk_needed"] + 20_000


def test_events(run, big, tmp_path):
    done = run("quantize", big, "--recipe", "fast", "--json", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = events(done)
    names = [event["event"] for event in found]
    assert names.index("plan") < names.index("progress")
    assert names[-1] == "done"
    progress = [event for event in found if event["event"] == "progress"]
    assert progress[-1]["stage"] == "publish"
    assert all(
        {"stage", "shards_done", "bytes_read", "bytes_per_second", "seconds_left", "peak_memory"}
        <= event.keys()
        for event in progress
    )
    assert progress[-1]["bytes_read"] == progress[-1]["bytes_read_total"] > 50_000_000
    last = found[-1]
    assert last["path"] == str(tmp_path / "out")
    assert last["nbytes"] == sum(f.stat().st_size for f in (tmp_path / "out").glob("*.safetensors"))


def test_a_reader_that_has_seen_enough_leaves_it_resumable(run, big, tmp_path):
    output = tmp_path / "out"
    command = [*CLI, "quantize", str(big), "--json", "-o", str(output)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(30) == 1
    assert errors == b""
    assert not output.exists()
    assert run("quantize", big, "-o", output).returncode == 0


def interrupted(command, when, **how):
    """Runs until an event satisfies ``when``, sends Ctrl-C; (status, stdout, stderr, seconds)."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, **how
    )
    lines = []
    while True:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        lines.append(json.loads(line))
        if when(lines[-1]):
            break
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=30)
    lines += [json.loads(line) for line in rest.splitlines()]
    return process.returncode, lines, errors.decode(), time.monotonic() - began


def rounds(event):
    return event["event"] == "progress" and event["stage"] == "quantise"


def test_ctrl_c_says_the_command_that_continues(run, big, tmp_path):
    output = tmp_path / "an output's name"
    command = [*CLI, "quantize", str(big), "--json", "--restart", "-o", str(output)]
    status, lines, errors, seconds = interrupted(command, rounds)
    assert status == 130
    assert seconds < 3
    assert not output.exists()
    assert output.with_name(f"{output.name}.partial").is_dir()
    again = lines[-1]["resume"]
    assert lines[-1]["event"] == "interrupted"
    assert f"  {again}\n" in errors
    name, *arguments = shlex.split(again)
    assert name == "mlxqwen"
    assert arguments == ["quantize", str(big), "--json", "-o", str(output)]
    assert run(*arguments).returncode == 0
    assert not output.with_name(f"{output.name}.partial").exists()
    assert run("quantize", big, "-o", tmp_path / "undisturbed").returncode == 0
    assert files_of(output) == files_of(tmp_path / "undisturbed")


def test_ctrl_c_while_it_calibrates(run, big, tmp_path):
    text = tmp_path / "mine.txt"
    text.write_text("Some words of a text. " * 150)
    options = ["--recipe", "best", "--calibration", str(text), "--json"]
    command = [*CLI, "quantize", str(big), *options, "-o", "out"]
    status, lines, errors, seconds = interrupted(
        command, lambda event: event.get("stage") == "calibrate" and event["done"]
    )
    assert status == 130
    assert seconds < 3
    assert lines[-1]["resume"] in errors
    assert not (tmp_path / "out").exists()


def on_terminal(command, columns, when=None):
    """(exit status, what a terminal of that width was sent)."""
    parent, child = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "LINES": "24", "TERM": "xterm-256color"}
    process = subprocess.Popen(
        command, env=environment, stdin=child, stdout=child, stderr=child, start_new_session=True
    )
    os.close(child)
    seen = b""
    try:
        while piece := os.read(parent, 65_536):
            seen += piece
            if when is not None and when in seen:
                process.send_signal(signal.SIGINT)
                when = None
    except OSError:  # what Linux says at the end of a terminal
        pass
    os.close(parent)
    return process.wait(20), seen.decode().replace("\r\n", "\n")


def plain(shown):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)


@pytest.mark.parametrize("columns", [40, 100])
def test_what_a_person_sees(run, big, tmp_path, columns):
    command = [*CLI, "quantize", str(big), "--recipe", "fast", "-o", "out"]
    status, shown = on_terminal(command, columns)
    assert status == 0, shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h")  # the cursor comes back
    summary = plain(shown).rpartition(str(tmp_path / "out")[-20:])[2]
    for words in (
        "size",
        "weights",
        "worst of",
        "took",
        "mlxqwen chat out",
        "mlxqwen verify out",
        "mlxqwen evaluate out",
    ):
        assert words in summary, (words, summary)
    assert max(cell_len(line) for line in summary.splitlines()) <= columns


def test_ctrl_c_on_a_terminal(run, big, tmp_path):
    command = [*CLI, "quantize", str(big), "-o", "out"]
    status, shown = on_terminal(command, 60, when=b"quantise")
    assert status == 130
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h")
    assert plain(shown).endswith(
        f"mlxqwen: Stopped; what is done is kept. To continue:\n  mlxqwen quantize {big} -o out\n"
    )


def test_a_model_from_the_hub(run, env, hub_double, big, tmp_path):
    commit = hub_double.publish("acme/big", {f.name: f.read_bytes() for f in big.iterdir()})
    planned = run("quantize", "acme/big", "--dry-run", "--json")
    assert planned.returncode == 0, planned.stderr
    plan = events(planned)[-1]
    assert plan["fetch_bytes"] > 50_000_000
    kept = events(run("quantize", "acme/big", "--dry-run", "--json", "--discard-source"))[-1]
    assert kept["fetch_bytes"] == plan["fetch_bytes"]
    # All four files are fetched, or two of them lie there at once.
    assert plan["disk_needed"] >= plan["output_bytes"] + plan["fetch_bytes"]
    assert kept["disk_needed"] < plan["disk_needed"]
    assert not (tmp_path / "hub").exists()
    assert not (tmp_path / "own" / "models").exists()

    done = run("quantize", "acme/big", "--recipe", "fast")
    assert done.returncode == 0, done.stderr
    assert re.search(r"Fetching 7\d\.\d MB of acme/big, into the hub's cache", done.stderr)
    output = tmp_path / "own" / "models" / "big-4bit"
    manifest = json.loads((output / "mlxqwen.json").read_text())
    assert manifest["source"]["name"] == "acme/big"
    assert manifest["source"]["revision"] == commit
    assert run("quantize", big, "--recipe", "fast", "-o", "local").returncode == 0
    weights = "model.safetensors"
    assert files_of(output)[weights] == files_of(tmp_path / "local")[weights]

    asked = len(hub_double.asked)  # complete in the cache: nobody is asked any more
    again = run("quantize", "acme/big", "--recipe", "fast", "--bits", "8")
    assert again.returncode == 0, again.stderr
    assert len(hub_double.asked) == asked


def test_a_model_from_the_hub_that_is_not_kept(run, env, hub_double, big, tmp_path):
    hub_double.publish("acme/big", {f.name: f.read_bytes() for f in big.iterdir()})
    done = run("quantize", "acme/big", "--recipe", "fast", "--discard-source", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert "two files at a time" in done.stderr
    assert list(tmp_path.rglob("*.safetensors")) == [tmp_path / "out" / "model.safetensors"]
    for options in (["--recipe", "best"], ["--fit", "40MB"]):
        refused = run("quantize", "acme/big", "--discard-source", *options, "-o", "other")
        assert refused.returncode == 2
        assert "whole source" in refused.stderr
    dry = run("quantize", "acme/big", "--fit", "40MB", "--dry-run")
    assert dry.returncode == 2
    assert "mlxqwen pull acme/big" in dry.stderr


@pytest.mark.parametrize("discard", [True, False])
def test_ctrl_c_while_it_waits_for_the_hub(run, env, hub_double, big, tmp_path, discard):
    hub_double.publish("acme/big", {f.name: f.read_bytes() for f in big.iterdir()})
    fault = hub_double.fail("content/.*model-00002", times=None, slow=0.2)
    options = ["--discard-source"] if discard else []
    command = [*CLI, "quantize", "acme/big", "--recipe", "fast", "--json", "-o", "out", *options]
    status, lines, errors, seconds = interrupted(
        command, lambda event: event.get("message", "").startswith("waiting for")
    )
    assert status == 130, errors
    assert seconds < 3
    hub_double.faults.remove(fault)
    # The branch has moved meanwhile: what was begun goes on with the commit that it began with.
    other = {f.name: f.read_bytes() for f in big.iterdir()} | {"README.md": b"newer"}
    newer = hub_double.publish("acme/big", other)
    done = run(*shlex.split(lines[-1]["resume"])[1:])
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "out" / "mlxqwen.json").read_text())
    assert manifest["source"]["revision"] != newer
    assert run("quantize", big, "--recipe", "fast", "-o", "local").returncode == 0
    weights = "model.safetensors"
    assert files_of(tmp_path / "out")[weights] == files_of(tmp_path / "local")[weights]


def test_a_name_that_is_nowhere(run, env, hub_double):
    done = run("quantize", "acme/none", "--json")
    assert done.returncode == 1
    assert events(done)[-1]["event"] == "error"
    assert "acme/none" in done.stderr
    local = run("quantize", "none")
    assert local.returncode == 1
    assert "mlxqwen models" in local.stderr
