"""Orders carried out as one: what goes together, what is planned, and what comes out."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import mlx.core as mx
import pytest

from mlxqwen.checkpoint.quantspec import QuantSpec
from mlxqwen.errors import DoesNotFit, OutputError, UnsupportedModel, UsageError
from quantize import guide
from quantize.order import Order, carry_out, gather, prepare
from quantize.partial import PartialFolder
from quantize.progress import Progress
from quantize.supply import Folder, Supply

TEXT = "Water boils at 100 degrees; a small text about a small model. " * 12


@pytest.fixture(autouse=True)
def own_scores(tmp_path, monkeypatch):
    monkeypatch.setenv("MLXQWEN_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(guide, "_LENGTH", 64)  # so that a short text has rows enough


@pytest.fixture
def source(make, add_tokenizer):
    folder = make(shards=2)
    add_tokenizer(folder)
    return folder


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


@dataclass
class Remote:
    """A folder whose shards are not here until they are fetched."""

    folder: Folder
    discards: bool = False
    here: set[Path] = field(default_factory=set)
    asked: list[Path] = field(default_factory=list)

    @property
    def directory(self):
        return self.folder.directory

    @property
    def name(self):
        return "acme/model"

    @property
    def revision(self):
        return "f" * 40

    @property
    def identity(self):
        return self.folder.identity

    @property
    def nbytes(self):
        shards = self.directory.shards
        return {shard: shard.stat().st_size for shard in shards if shard not in self.here}

    def fetch(self, shard):
        self.asked.append(shard)
        self.here.add(shard)

    def fetched(self, shard):
        return shard.stat().st_size if shard in self.here else 0

    def release(self, shard):
        if self.discards:
            self.here.discard(shard)


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"fit": 10**9, "recipe": "best"}, "--recipe"),
        ({"fit": 10**9, "bits": 4}, "--bits"),
        ({"fit": 10**9, "group_size": 64}, "--group-size"),
        ({"fit": 10**9, "mode": "affine"}, "--mode"),
        ({"mode": "mxfp4", "recipe": "balanced"}, "--mode mxfp4"),
        ({"mode": "int4"}, "int4"),
        ({"bits": 9}, "9 bits"),
        ({"calibration": Path("text.txt")}, "--calibration"),
        ({"calibration": Path("text.txt"), "recipe": "fast"}, "--calibration"),
    ],
)
def test_what_does_not_go_together(tmp_path, source, choices, words):
    order = Order(tmp_path / "out", **choices)
    with pytest.raises(UsageError, match=words):
        order.check()
    with pytest.raises(UsageError, match=words):
        carry_out(order, Folder.open(source))
    assert not (tmp_path / "out.partial").exists()


def test_what_goes_together(tmp_path):
    for choices in (
        {},
        {"mode": "mxfp4"},
        {"mode": "mxfp4", "recipe": "fast"},
        {"mode": "affine", "recipe": "best", "bits": 3, "group_size": 32},
        {"fit": 10**9, "context": 100, "calibration": Path("x")},
        {"recipe": "best", "calibration": Path("x")},
    ):
        Order(tmp_path, **choices).check()


def test_a_plan_says_what_comes_out(tmp_path, source):
    order = Order(tmp_path / "deep" / "out", bits=3, group_size=32)
    prepared = prepare(order, Folder.open(source))
    assert list(tmp_path.iterdir()) == [source]
    assert prepared.recipe.name == "balanced"
    assert prepared.recipe.default == QuantSpec(3, 32)
    assert prepared.disk == tmp_path
    assert prepared.disk_free > prepared.disk_needed > prepared.plan.output_bytes
    assert prepared.fetch_bytes == 0
    assert prepared.fit is None
    seen = []
    result = carry_out(order, Folder.open(source), planned=seen.append)
    assert [one.plan for one in seen] == [prepared.plan]
    assert result.nbytes == prepared.plan.output_bytes
    weights = sum(f.stat().st_size for f in result.path.glob("*.safetensors"))
    assert weights == result.nbytes
    everything = sum(file.stat().st_size for file in result.path.iterdir())
    assert everything - prepared.disk_needed < 64_000  # manifest, card and index


def test_memory_of_what_is_not_written_yet(tmp_path, source):
    from mlxqwen.engine.memory import plan

    order = Order(tmp_path / "out", context=300)
    foreseen = prepare(order, Folder.open(source)).memory
    carry_out(order, Folder.open(source))
    found = plan(tmp_path / "out", context=300)
    assert (foreseen.weights, foreseen.cache, foreseen.workspace) == (
        found.weights,
        found.cache,
        found.workspace,
    )
    assert foreseen.context == 300


def test_best_is_calibrated_refined_and_better(tmp_path, source, text):
    from quantize.evaluate import evaluate

    seen: list[Progress] = []
    order = Order(tmp_path / "best", recipe="best", bits=3, calibration=text)
    carry_out(order, Folder.open(source), progress=seen.append)
    stages = list(dict.fromkeys(report.stage for report in seen))
    assert stages[:2] == ["calibrate", "refine"]
    assert "quantise" in stages
    carry_out(Order(tmp_path / "fast", recipe="fast", bits=3), Folder.open(source))
    kl = {
        name: evaluate(tmp_path / name, against=source, text=text, tokens=256).divergence.kl.value
        for name in ("fast", "best")
    }
    assert kl["best"] < kl["fast"]
    manifest = json.loads((tmp_path / "best" / "mlxqwen.json").read_text())
    assert manifest["recipe"]["guidance"]


def test_what_was_measured_is_not_measured_again(tmp_path, source, text):
    order = Order(tmp_path / "one", recipe="best", calibration=text)
    carry_out(order, Folder.open(source))
    seen: list[Progress] = []
    carry_out(replace(order, output=tmp_path / "two"), Folder.open(source), progress=seen.append)
    calibrating = [report for report in seen if report.stage == "calibrate"]
    assert [report.message for report in calibrating] == ["known from an earlier run"]
    for name in ("model.safetensors", "mlxqwen.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_fit_never_exceeds_what_it_was_given(tmp_path, source, text):
    supply = Folder.open(source)
    for budget in (5_000_000, 400_000, 320_000):
        order = Order(tmp_path / f"{budget}", fit=budget, context=16, calibration=text)
        prepared = prepare(order, supply)
        assert prepared.fit is not None
        assert prepared.plan.tensor_bytes == prepared.fit.weights
        assert prepared.fit.total <= budget
    result = carry_out(order, supply)
    assert result.path.name == str(budget)
    notes = json.loads((result.path / "mlxqwen.json").read_text())["notes"]["fit"]
    assert notes["bytes"] == budget
    assert notes["context"] == 16
    with pytest.raises(DoesNotFit, match="--fit"):
        prepare(Order(tmp_path / "none", fit=1000), supply)


def test_everything_is_fetched_before_text_runs_through_it(tmp_path, source, text):
    supply: Supply = Remote(Folder.open(source))
    seen: list[Progress] = []
    order = Order(tmp_path / "out", recipe="best", calibration=text)
    carry_out(order, supply, progress=seen.append)
    fetching = [report for report in seen if report.stage == "fetch"]
    assert seen.index(fetching[-1]) < next(
        index for index, report in enumerate(seen) if report.stage == "calibrate"
    )
    assert fetching[-1].bytes_read == fetching[-1].bytes_read_total > 0
    assert set(supply.asked) == set(supply.directory.shards)


def test_what_is_not_kept_cannot_be_calibrated_on(tmp_path, source):
    supply = Remote(Folder.open(source), discards=True)
    with pytest.raises(UsageError, match="cannot be discarded"):
        gather(supply)
    for choices in ({"recipe": "best"}, {"fit": 10**6}):
        with pytest.raises(UsageError, match="cannot be discarded"):
            carry_out(Order(tmp_path / "out", **choices), supply)
    assert supply.asked == []
    carry_out(Order(tmp_path / "out"), supply)
    assert supply.here == set()


def test_a_source_may_keep_its_shards_beside_the_output(tmp_path, source):
    kept = []

    def opened(folder: Path) -> Supply:
        folder.mkdir()
        (folder / "shard").write_bytes(b"x")
        kept.append(folder)
        return Folder.open(source)

    result = carry_out(Order(tmp_path / "out"), opened)
    assert kept == [tmp_path / "out.partial" / "source"]
    assert not kept[0].parent.exists()
    assert result.path == tmp_path / "out"


def test_what_cannot_be_quantised_leaves_nothing_behind(tmp_path, make):
    source = make()
    config = json.loads((source / "config.json").read_text()) | {"model_type": "qwen3_vl"}
    (source / "config.json").write_text(json.dumps(config))

    def opened(folder: Path) -> Supply:
        folder.mkdir()
        (folder / "notes").write_bytes(b"x")
        return Folder.open(source)

    with pytest.raises(UnsupportedModel):
        carry_out(Order(tmp_path / "out"), opened)
    assert list(tmp_path.iterdir()) == [source]


def test_the_output_is_locked_and_refused_before_any_work(tmp_path, source, text):
    seen: list[Progress] = []
    order = Order(tmp_path / "out", recipe="best", calibration=text)

    def refused(words: str) -> None:
        with pytest.raises(OutputError, match=words):
            carry_out(order, Folder.open(source), progress=seen.append)
        assert seen == []

    with PartialFolder(order.output):
        refused("another process")
    (tmp_path / "out").mkdir()
    refused("exists already")
    (tmp_path / "out").rmdir()
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "mine").write_bytes(b"")
    refused("was not made by mlxqwen")


def test_an_interrupted_order_continues(tmp_path, source, text):
    order = Order(tmp_path / "out", recipe="best", calibration=text)

    def at(stage: str):
        def report(progress: Progress) -> None:
            if progress.stage == stage and progress.done + progress.bytes_read:
                raise KeyboardInterrupt

        return report

    for stage in ("calibrate", "refine", "quantise"):
        with pytest.raises(KeyboardInterrupt):
            carry_out(order, Folder.open(source), progress=at(stage))
        assert not order.output.exists()
    carry_out(order, Folder.open(source))
    carry_out(replace(order, output=tmp_path / "undisturbed"), Folder.open(source))
    for file in order.output.iterdir():
        assert file.read_bytes() == (tmp_path / "undisturbed" / file.name).read_bytes()


def test_restart_forgets_what_was_begun_otherwise(tmp_path, source):
    def stop(progress: Progress) -> None:
        if progress.stage == "quantise":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(Order(tmp_path / "out", bits=8), Folder.open(source), progress=stop)
    with pytest.raises(OutputError, match="--restart"):
        carry_out(Order(tmp_path / "out", bits=4), Folder.open(source))
    carry_out(Order(tmp_path / "out", bits=4, restart=True), Folder.open(source))
    assert mx.load(str(tmp_path / "out" / "model.safetensors"))


def test_fit_keeps_room_for_no_more_context_than_the_model_has(source):
    most = json.loads((source / "config.json").read_text())["max_position_embeddings"]
    assert most < 8192
    fit = prepare(Order(Path("out"), fit=100_000_000), Folder.open(source)).fit
    assert fit is not None
    assert fit.context == most
    asked = prepare(Order(Path("out"), fit=100_000_000, context=1000), Folder.open(source)).fit
    assert asked is not None
    assert asked.context == 1000


def test_a_text_too_short_to_learn_from_is_refused_before_calibration(source, tmp_path):
    short = tmp_path / "short.txt"
    short.write_text("Hi there, you.")
    seen: list[Progress] = []
    order = Order(tmp_path / "best", recipe="best", calibration=short)
    with pytest.raises(UsageError, match=r"short\.txt has .* tokens .*too few to learn"):
        carry_out(order, Folder.open(source), progress=seen.append)
    assert not seen
    assert not list(tmp_path.glob("best*"))
