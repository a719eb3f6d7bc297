"""The released Qwen models that mlxqwen knows by name.

A table, not a service: nothing here asks the network. What is not known for certain is ``None``.

Sources: parameter totals from the tensor shapes that each published configuration fixes
(``verified`` where a listing of the published files, or their size, gives the same number);
sampling from the published ``generation_config.json`` (Coder: from its model card); contexts from
``max_position_embeddings``, and with YaRN from the model cards. A checkpoint's own files always
win over this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..generate.options import Sampling
from ..model.config import ModelType

Kind = Literal["dense", "moe", "hybrid", "omni"]
Thinking = Literal["switch", "always", "never"]
Unloaded = Literal["lm_head", "mtp"]

APACHE = "Apache-2.0"

_HYBRID = Sampling(temperature=0.6, top_p=0.95, top_k=20)
_INSTRUCT = Sampling(temperature=0.7, top_p=0.8, top_k=20)
_CODER = Sampling(temperature=0.7, top_p=0.8, top_k=20, repetition=1.05)


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A released model.

    Attributes:
        alias: Our short name, such as ``qwen3-30b-a3b``.
        hub_id: Where the original weights are published.
        kind: ``dense``; ``moe`` (mixture of experts); ``hybrid`` (gated delta net and attention,
            with experts); ``omni`` (text, sound and pictures).
        model_type: The architecture, as ``config.json`` names it.
        thinking: Whether the model reasons before it answers: ``switch`` is up to the caller.
        parameters: Weights stored in the published files.
        active: Weights that work on one token: chosen experts only, a tied head counted once.
        verified: ``parameters`` equals what the published files are known to hold; otherwise it
            is derived from the configuration.
        context: Positions that the published configuration allows, in tokens.
        yarn_context: Positions with YaRN switched on, in tokens.
        sampling: Recommended settings; of a model that can switch, those for thinking.
        licence: Licence of the weights, as an SPDX identifier.
        mlx_ids: Hub ids of 4-bit MLX conversions, preferred first.
        aliases: Further short names.
        configuration: Name of its ``config.json`` among those kept here.
        unloaded: Parts of the published files that are never loaded: a head that equals the
            embeddings, layers that predict further tokens.
        file_bytes: Size of the published weight files where it is known, headers included.
        mlx_bytes: Bytes of the tensors in its published 4-bit MLX conversion where they are listed.
    """

    alias: str
    hub_id: str
    kind: Kind
    model_type: ModelType
    thinking: Thinking | None = None
    parameters: int | None = None
    active: int | None = None
    verified: bool = False
    context: int | None = None
    yarn_context: int | None = None
    sampling: Sampling | None = None
    licence: str | None = APACHE
    mlx_ids: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    configuration: str | None = None
    unloaded: tuple[Unloaded, ...] = ()
    file_bytes: int | None = None
    mlx_bytes: int | None = None

    @property
    def tensor_bytes(self) -> int | None:
        """Bytes of the tensors in the published files, all of them bfloat16."""
        return None if self.parameters is None else 2 * self.parameters

    @property
    def names(self) -> tuple[str, ...]:
        """Every name under which a person may ask for this model."""
        return (self.alias, *self.aliases, self.hub_id, *self.mlx_ids)


def _first(
    size: str,
    parameters: int,
    active: int | None = None,
    *,
    verified: bool = False,
    yarn: int | None = 131_072,
    aliases: tuple[str, ...] = (),
    unloaded: tuple[Unloaded, ...] = (),
    file_bytes: int | None = None,
    mlx_bytes: int | None = None,
) -> KnownModel:
    """One of the eight models of April 2025: they think or not, as asked."""
    moe = "-" in size
    return KnownModel(
        alias=f"qwen3-{size.lower()}",
        hub_id=f"Qwen/Qwen3-{size}",
        kind="moe" if moe else "dense",
        model_type="qwen3_moe" if moe else "qwen3",
        thinking="switch",
        parameters=parameters,
        active=active or parameters,
        verified=verified,
        context=40_960,
        yarn_context=yarn,
        sampling=_HYBRID,
        mlx_ids=(f"mlx-community/Qwen3-{size}-4bit", f"Qwen/Qwen3-{size}-MLX-4bit"),
        aliases=aliases,
        configuration=f"Qwen3-{size}",
        unloaded=unloaded,
        file_bytes=file_bytes,
        mlx_bytes=mlx_bytes,
    )


MODELS: tuple[KnownModel, ...] = (
    _first(
        "0.6B",
        751_632_384,
        596_049_920,
        verified=True,
        yarn=None,
        unloaded=("lm_head",),
        file_bytes=1_503_300_328,
    ),
    _first("1.7B", 2_031_739_904, 1_720_574_976, verified=True, yarn=None, unloaded=("lm_head",)),
    _first("4B", 4_022_468_096, verified=True),
    _first("8B", 8_190_735_360),
    _first("14B", 14_768_307_200, mlx_bytes=8_307_783_680),
    _first("32B", 32_762_123_264),
    _first("30B-A3B", 30_532_122_624, 3_353_032_704, aliases=("qwen3-30b",)),
    _first("235B-A22B", 235_093_634_560, 22_190_763_520, aliases=("qwen3-235b",)),
    KnownModel(
        alias="qwen3-4b-instruct-2507",
        hub_id="Qwen/Qwen3-4B-Instruct-2507",
        configuration="Qwen3-4B-Instruct-2507",
        kind="dense",
        model_type="qwen3",
        thinking="never",
        parameters=4_022_468_096,
        active=4_022_468_096,
        context=262_144,
        sampling=_INSTRUCT,
        mlx_ids=("mlx-community/Qwen3-4B-Instruct-2507-4bit",),
        aliases=("qwen3-4b-instruct",),
    ),
    KnownModel(
        alias="qwen3-4b-thinking-2507",
        hub_id="Qwen/Qwen3-4B-Thinking-2507",
        configuration="Qwen3-4B-Instruct-2507",
        kind="dense",
        model_type="qwen3",
        thinking="always",
        parameters=4_022_468_096,
        active=4_022_468_096,
        context=262_144,
        mlx_ids=("mlx-community/Qwen3-4B-Thinking-2507-4bit",),
        aliases=("qwen3-4b-thinking",),
    ),
    KnownModel(
        alias="qwen3-30b-a3b-instruct-2507",
        hub_id="Qwen/Qwen3-30B-A3B-Instruct-2507",
        configuration="Qwen3-30B-A3B-Instruct-2507",
        kind="moe",
        model_type="qwen3_moe",
        thinking="never",
        parameters=30_532_122_624,
        active=3_353_032_704,
        context=262_144,
        mlx_ids=("mlx-community/Qwen3-30B-A3B-Instruct-2507-4bit",),
        aliases=("qwen3-30b-a3b-instruct", "qwen3-30b-instruct"),
    ),
    KnownModel(
        alias="qwen3-30b-a3b-thinking-2507",
        hub_id="Qwen/Qwen3-30B-A3B-Thinking-2507",
        configuration="Qwen3-30B-A3B-Instruct-2507",
        kind="moe",
        model_type="qwen3_moe",
        thinking="always",
        parameters=30_532_122_624,
        active=3_353_032_704,
        context=262_144,
        aliases=("qwen3-30b-a3b-thinking", "qwen3-30b-thinking"),
    ),
    KnownModel(
        alias="qwen3-235b-a22b-instruct-2507",
        hub_id="Qwen/Qwen3-235B-A22B-Instruct-2507",
        kind="moe",
        model_type="qwen3_moe",
        thinking="never",
        aliases=("qwen3-235b-a22b-instruct", "qwen3-235b-instruct"),
    ),
    KnownModel(
        alias="qwen3-235b-a22b-thinking-2507",
        hub_id="Qwen/Qwen3-235B-A22B-Thinking-2507",
        kind="moe",
        model_type="qwen3_moe",
        thinking="always",
        aliases=("qwen3-235b-a22b-thinking", "qwen3-235b-thinking"),
    ),
    KnownModel(
        alias="qwen3-coder-30b",
        hub_id="Qwen/Qwen3-Coder-30B-A3B-Instruct",
        configuration="Qwen3-Coder-30B-A3B-Instruct",
        kind="moe",
        model_type="qwen3_moe",
        thinking="never",
        parameters=30_532_122_624,
        active=3_353_032_704,
        verified=True,
        context=262_144,
        sampling=_CODER,
        mlx_ids=("mlx-community/Qwen3-Coder-30B-A3B-Instruct-4bit",),
        aliases=("qwen3-coder-30b-a3b", "qwen3-coder"),
    ),
    KnownModel(
        alias="qwen3-coder-480b",
        hub_id="Qwen/Qwen3-Coder-480B-A35B-Instruct",
        configuration="Qwen3-Coder-480B-A35B-Instruct",
        kind="moe",
        model_type="qwen3_moe",
        thinking="never",
        parameters=480_154_875_392,
        active=35_474_765_312,
        context=262_144,
        sampling=_CODER,
        aliases=("qwen3-coder-480b-a35b",),
    ),
    KnownModel(
        alias="qwen3-next-80b",
        hub_id="Qwen/Qwen3-Next-80B-A3B-Instruct",
        configuration="Qwen3-Next-80B-A3B-Instruct",
        unloaded=("mtp",),
        kind="hybrid",
        model_type="qwen3_next",
        thinking="never",
        parameters=81_324_862_720,
        active=3_874_929_408,
        verified=True,
        context=262_144,
        mlx_ids=("mlx-community/Qwen3-Next-80B-A3B-Instruct-4bit",),
        aliases=("qwen3-next-80b-a3b", "qwen3-next"),
    ),
    KnownModel(
        alias="qwen3-next-80b-thinking",
        hub_id="Qwen/Qwen3-Next-80B-A3B-Thinking",
        kind="hybrid",
        model_type="qwen3_next",
        thinking="always",
        aliases=("qwen3-next-80b-a3b-thinking", "qwen3-next-thinking"),
    ),
    KnownModel(
        alias="qwq-32b",
        hub_id="Qwen/QwQ-32B",
        configuration="QwQ-32B",
        kind="dense",
        model_type="qwen2",
        thinking="always",
        parameters=32_763_876_352,
        active=32_763_876_352,
        verified=True,
        context=131_072,
        mlx_ids=("mlx-community/QwQ-32B-4bit",),
        aliases=("qwq",),
    ),
    KnownModel(
        alias="qwen2.5-omni-7b",
        hub_id="Qwen/Qwen2.5-Omni-7B",
        kind="omni",
        model_type="qwen2_5_omni",
        thinking="never",
        # Parts of this family are published under other terms; this one is not certain here.
        licence=None,
        aliases=("qwen-omni-7b",),
    ),
    KnownModel(
        alias="tongyi-deepresearch-30b",
        hub_id="Alibaba-NLP/Tongyi-DeepResearch-30B-A3B",
        kind="moe",
        model_type="qwen3_moe",
        thinking="always",
        licence=None,
        aliases=("tongyi-deepresearch", "deepresearch"),
    ),
    KnownModel(
        alias="deepswe-preview",
        hub_id="agentica-org/DeepSWE-Preview",
        kind="dense",
        model_type="qwen3",
        thinking="always",
        licence=None,
        aliases=("deepswe",),
    ),
)

_BY_NAME = {name.lower(): model for model in MODELS for name in model.names}


def find(name: str) -> KnownModel | None:
    """The released model of that alias or hub id, in any case of letters; None if unknown."""
    return _BY_NAME.get(name.lower())


def all_aliases() -> tuple[str, ...]:
    """The main alias of every known model, in the order of the table."""
    return tuple(model.alias for model in MODELS)
