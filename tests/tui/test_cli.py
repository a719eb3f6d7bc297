"""The command line as a shell sees it: output, exit status, signals, and what gets imported."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time

import pytest

from mlxqwen.engine.events import Done, Text, from_json
from mlxqwen.errors import DoesNotFit, UsageError
from tui.commands.failures import reported

CLI = [sys.executable, "-m", "tui.cli"]
COMMANDS = "chat ask quantize verify evaluate pull models bench doctor".split()


@pytest.fixture
def env(home, tmp_path):
    return {
        **os.environ,
        "MLXQWEN_HOME": str(home),
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "HOME": str(tmp_path),
        "COLUMNS": "100",
        "NO_COLOR": "1",
    }


@pytest.fixture
def run(env):
    def call(*arguments, stdin="", **settings):
        given = stdin if isinstance(stdin, bytes) else stdin.encode()
        done = subprocess.run(
            [*CLI, *arguments], input=given, capture_output=True, env=env, check=False, **settings
        )
        done.stdout, done.stderr = (
            done.stdout.decode(errors="replace"),
            done.stderr.decode(errors="replace"),
        )
        return done

    return call


def test_help_is_quick_and_imports_neither_mlx_nor_textual(env):
    code = (
        "import sys, atexit; sys.argv = ['mlxqwen', '--help']\n"
        "atexit.register(lambda: print(*sorted({m.split('.')[0] for m in sys.modules})))\n"
        "from tui.cli import main; main()"
    )
    times = []
    for _ in range(3):
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        )
        times.append(time.perf_counter() - began)
    modules = set(done.stdout.splitlines()[-1].split())
    assert "tui" in modules
    assert not modules & {"mlx", "textual", "mlx_lm", "tokenizers", "huggingface_hub", "sqlite3"}
    for command in COMMANDS:
        assert command in done.stdout
    assert min(times) < 0.5  # 0.11 s on a quiet machine; the bar is 0.3 s


def test_version(run):
    from mlxqwen import __version__

    assert run("--version").stdout == f"mlxqwen {__version__}\n"


def test_every_command_has_help(run):
    for command in COMMANDS:
        assert run(command, "--help").returncode == 0


def test_ask(run):
    done = run("ask", "-m", "tiny", "-n", "8", "--seed", "1", "--stats", "Hello")
    assert done.returncode == 0
    assert done.stdout.strip()
    assert done.stdout.endswith("\n")
    assert "answer 8 tokens" in done.stderr


def test_ask_streams_events_as_json(run):
    plain = run("ask", "-m", "tiny", "-n", "8", "--temperature", "0", "Hello")
    done = run("ask", "-m", "tiny", "-n", "8", "--temperature", "0", "--json", "Hello")
    events = [from_json(json.loads(line)) for line in done.stdout.splitlines()]
    assert isinstance(events[-1], Done)
    assert events[-1].usage.completion_tokens == 8
    text = "".join(event.text for event in events if isinstance(event, Text))
    assert text.rstrip("\n") == plain.stdout.rstrip("\n")


def prompt_tokens(done):
    assert done.returncode == 0, done.stderr
    return from_json(json.loads(done.stdout.splitlines()[-1])).usage.prompt_tokens


def test_ask_adds_standard_input_to_the_prompt(run):
    options = ("ask", "-m", "tiny", "-n", "1", "--json")
    whole = prompt_tokens(run(*options, "one two\nperché"))
    assert prompt_tokens(run(*options, "one", "two", stdin="perché")) == whole
    assert prompt_tokens(run(*options, stdin="one two\nperché")) == whole
    assert prompt_tokens(run(*options, "one two\nperché", "--system", "be brief")) > whole


def test_ask_says_what_is_wrong(run):
    cases = [
        (("ask", "-m", "tiny"), b"", 2, "nothing to ask"),
        (("ask", "-m", "tiny", "hi"), b"ok \xff\xfe", 1, "not UTF-8 text (byte 3 is 0xff)"),
        (("ask", "-m", "no-such-model", "hi"), b"", 1, "mlxqwen models"),
        (("ask", "-m", "tiny", "--temperature", "-1", "hi"), b"", 2, "temperature"),
        (("ask", "-m", "tiny", "--nonsense", "hi"), b"", 2, "No such option"),
        (("ask", "-m", "tiny", "x" * 20_000), b"", 1, "context of 16,384"),
        (("nonsense",), b"", 2, "No such command"),
        (("chat",), b"", 2, "mlxqwen ask"),
        ((), b"", 2, "mlxqwen ask"),
        (("bench", "no-such-model"), b"", 1, "no-such-model"),
        (("quantize", "no-such-model"), b"", 1, "no-such-model"),
        (("models", "show", "no-such-model"), b"", 1, "no-such-model"),
    ]
    for arguments, stdin, status, words in cases:
        done = run(*arguments, stdin=stdin)
        assert done.returncode == status, (arguments, done.stderr)
        assert words in done.stderr, (arguments, done.stderr)
        assert "Traceback" not in done.stderr
        assert done.stdout == ""


def test_debug_shows_the_traceback(run, env):
    assert "Traceback" in run("--debug", "ask", "-m", "no-such-model", "hi").stderr
    env["MLXQWEN_DEBUG"] = "1"
    assert "Traceback" in run("ask", "-m", "no-such-model", "hi").stderr


@pytest.mark.parametrize("seconds", [0.0, 0.1, None])
def test_ctrl_c_is_130_and_nothing_else(env, seconds):
    command = [*CLI, "ask", "-m", "tiny", "-n", "9000", "--json", "hi"]
    process = subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    if seconds is None:
        process.stdout.readline()
    else:
        time.sleep(0.1 + seconds)  # the interpreter's own start is not ours to interrupt
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)  # impatience must not make it worse
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (130, b"")


def test_a_reader_that_has_seen_enough_is_no_error(env):
    command = [*CLI, "ask", "-m", "tiny", "-n", "9000", "hi"]
    process = subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.read(1)
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(20) == 1
    assert errors == b""


PRINT_HOSTILE = """
from mlxqwen.engine.events import Done, Text, Thinking, Timings, Usage
from tui.commands.ask import _Printer
events = [Thinking("th\\x1b]0;owned\\x07ought"), Text("a\\x1b[2Jb"), Text("\\x9b31mc"),
          Done("stop", Usage(1, 0, 3, 1), Timings(0.1, 0.2, 0.3, 0.1))]
_Printer.for_terminal().print(events)
"""


def test_model_text_cannot_act_on_the_terminal(env):
    parent, child = pty.openpty()
    subprocess.run(
        [sys.executable, "-c", PRINT_HOSTILE], env=env, stdout=child, stderr=child, check=True
    )
    os.close(child)
    seen = b""
    while True:
        try:
            piece = os.read(parent, 4096)
        except OSError:  # what Linux says at the end of a terminal
            break
        if not piece:
            break
        seen += piece
    os.close(parent)
    text = seen.decode()
    assert "a␛[2Jb" in text
    assert "th␛]0;owned␇ought" in text
    assert {part.partition("m")[0] for part in text.split("\x1b")[1:]} <= {"[2", "[0"}


def test_a_pipe_gets_the_text_as_it_is(env):
    done = subprocess.run(
        [sys.executable, "-c", PRINT_HOSTILE], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout == "a\x1b[2Jb\x9b31mc\n"
    assert done.stderr == ""


def test_the_built_in_model_is_announced_to_people_only(env, tmp_path):
    env["MLXQWEN_HOME"] = str(tmp_path / "empty")
    command = [*CLI, "ask", "-n", "2", "--no-think", "Hello"]
    parent, child = pty.openpty()
    subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stderr=child, check=True)
    os.close(child)
    assert b"tiny demonstration model" in os.read(parent, 4096)
    os.close(parent)
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


def test_models(run, home):
    listed = run("models").stdout
    assert "NAME" in listed
    assert "tiny" in listed
    records = {record["name"]: record for record in json.loads(run("models", "--json").stdout)}
    assert records["tiny"]["path"] == str(home / "models" / "tiny")
    assert records["tiny"]["bytes"] > 100_000
    assert "context" in run("models", "show", "tiny", "--context", "512").stdout


def test_known_models(run):
    table = run("models", "--known", "--context", "4096").stdout
    rows = {line.split()[0]: line.split() for line in table.splitlines() if line.strip()}
    assert {"qwen3-4b", "qwen3-30b-a3b", "qwen3-coder-30b", "qwen3-next-80b", "qwq-32b"} <= set(
        rows
    )
    assert rows["qwen3-14b"][4:6] == ["8.3", "GB"]
    assert rows["qwen3-coder-480b"][-1] == "no"
    assert rows["tongyi-deepresearch-30b"].count("–") == 6  # not known is not guessed
    assert "with 4,096 tokens of context" in table
    records = {r["alias"]: r for r in json.loads(run("models", "--known", "--json").stdout)}
    assert records["qwen3-14b"]["plan"]["stored"] == 8_307_783_680
    assert records["qwen3-14b"]["plan"]["source"] == "verified"
    assert records["qwen3-0.6b"]["file_bytes"] == 1_503_300_328
    assert records["deepswe-preview"]["plan"] is None


def test_one_known_model(run):
    shown = run("models", "show", "qwen3-4b", "--context", "65536", "--bits", "4").stdout
    for words in (
        "Qwen/Qwen3-4B",
        "Apache-2.0",
        "131,072 with YaRN",
        "temperature 0.6",
        "as asked",
    ):
        assert words in shown
    assert "YaRN is on with factor 2" in shown
    unknown = run("models", "show", "deepswe")
    assert "agentica-org/DeepSWE-Preview" in unknown.stdout
    assert unknown.returncode == 1
    assert "mlxqwen pull" in unknown.stderr


def test_a_thought_has_a_budget_and_yarn_is_told(run):
    done = run("ask", "-m", "tiny", "--think-budget", "3", "-n", "20", "--json", "hi")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["event"] == "done"
    assert done.stderr == ""
    stretched = run("ask", "-m", "tiny", "--context", "20000", "-n", "2", "hi")
    assert "YaRN is on with factor 2: tiny" in stretched.stderr
    refused = run("ask", "-m", "tiny", "--no-think", "--think-budget", "3", "hi")
    assert refused.returncode == 2
    assert "--think-budget" in refused.stderr


def test_quantize(run, home, tmp_path):
    output = tmp_path / "small"
    done = run("quantize", "tiny", "-o", str(output))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no bar where nobody watches
    assert str(output) in done.stdout
    assert json.loads((output / "config.json").read_text())["quantization"]["bits"] == 4
    assert run("ask", "-m", str(output), "-n", "4", "hi").returncode == 0
    again = run("quantize", "tiny", "-o", str(output))
    assert again.returncode == 1
    assert "exists" in again.stderr
    assert run("quantize", "tiny", "--bits", "7").returncode == 2


def test_bench(run):
    done = run("bench", "tiny", "--prompt", "16", "--tokens", "4", "--repeats", "1", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["decode_tok_s"] > 0
    assert record["prompt_tokens"] == 16


def test_bench_counts_launches_of_random_weights_without_running(run, tmp_path):
    config = {
        "model_type": "qwen3",
        "hidden_size": 128,
        "intermediate_size": 192,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "vocab_size": 300,
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": 1024,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
    }
    source = tmp_path / "config.json"
    source.write_text(json.dumps(config))
    options = ("--random", str(source), "--layers", "2", "--plan", "metal")
    done = run("bench", *options, "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert len(record["list"]) == record["kernels_per_token"] > 2 * record["kernels_per_layer"] > 0
    assert str(source) in record["model"]
    shown = run("bench", *options).stdout
    assert record["list"][0] in shown
    assert "per layer" in shown


def test_bench_takes_one_model(run, tmp_path):
    for options in ((), ("tiny", "--random", "config.json"), ("tiny", "--layers", "2")):
        done = run("bench", *options)
        assert done.returncode == 2
        assert "--random" in done.stderr
    missing = run("bench", "--random", str(tmp_path / "none.json"))
    assert missing.returncode == 2
    assert "none.json" in missing.stderr


def test_doctor(run):
    done = run("doctor", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["healthy"] else 1)
    assert {"system", "MLX", "conversations"} <= {one["name"] for one in report["findings"]}
    assert "MLX" in run("doctor").stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion(env, shell):
    code = "import sys; sys.argv = ['mlxqwen']; from tui.cli import main; main()"
    env |= {
        "_MLXQWEN_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": "mlxqwen qua",
        "COMP_CWORD": "1",
        "_TYPER_COMPLETE_ARGS": "mlxqwen qua",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert "quantize" in done.stdout


@pytest.mark.parametrize(
    ("raised", "status", "words"),
    [
        (OSError(28, "No space left on device", "/models/out"), 1, "disk is full at /models/out"),
        (PermissionError(13, "Permission denied", "/etc/x"), 1, "Not allowed"),
        (OSError(5, "Input/output error", "/dev/x"), 1, "Input/output error at /dev/x"),
        (ImportError("libmlx.dylib: wrong architecture"), 1, "mlxqwen doctor"),
        (DoesNotFit("It needs 9 GB.", "Choose fewer bits."), 1, "It needs 9 GB. Choose fewer"),
        (UsageError("These do not go together."), 2, "do not go together"),
    ],
)
def test_failures_are_sentences(raised, status, words, capsys, monkeypatch):
    monkeypatch.delenv("MLXQWEN_DEBUG", raising=False)
    with pytest.raises(SystemExit) as left, reported():
        raise raised
    assert left.value.code == status
    errors = capsys.readouterr().err
    assert errors.startswith("mlxqwen: ")
    assert words in errors
    assert errors.count("\n") == 1


def test_other_errors_are_bugs_and_stay_visible():
    with pytest.raises(ZeroDivisionError), reported():
        raise ZeroDivisionError
