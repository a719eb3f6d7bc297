"""What a plan says of a released model's quantised form is what the quantiser would write."""

from __future__ import annotations

from math import prod
from pathlib import Path

import pytest

from mlxqwen.checkpoint.directory import Directory
from mlxqwen.checkpoint.expected import expected_tensors
from mlxqwen.checkpoint.safetensors import TensorInfo
from mlxqwen.engine.known import quantised_bytes
from mlxqwen.hub.catalogue import MODELS, KnownModel
from mlxqwen.hub.configurations import configuration
from mlxqwen.model.config import ModelConfig
from quantize import choose_recipe, make_plan

PLANNED = [model for model in MODELS if model.configuration is not None]


@pytest.mark.parametrize("bits", [3, 4, 8])
@pytest.mark.parametrize("model", PLANNED, ids=lambda model: model.alias)
def test_planned_bytes_are_those_that_would_be_written(model: KnownModel, bits: int) -> None:
    declared = configuration(model)
    assert declared is not None
    config = ModelConfig.parse(declared)
    infos, end = {}, 0
    for name, shape in expected_tensors(config):
        size = 2 * prod(shape)
        infos[name] = TensorInfo(name, "BF16", shape, Path("model.safetensors"), end, size)
        end += size
    on_paper = Directory(Path(), declared, {}, infos, ())
    written = make_plan(on_paper, choose_recipe(None, "fast", bits=bits)).tensor_bytes
    assert quantised_bytes(config, bits) == written
