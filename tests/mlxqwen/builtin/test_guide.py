"""The model that ships in the package is small, whole, uses all it has, and answers."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import mlx.core as mx
import pytest

from mlxqwen.builtin.corpus import prose
from mlxqwen.checkpoint.load import load
from mlxqwen.engine.engine import Engine
from mlxqwen.generate.decode import generate_tokens
from mlxqwen.generate.options import Sampling
from mlxqwen.hub.places import guide_folder
from mlxqwen.model.config import ModelConfig
from mlxqwen.model.decoder import Model
from mlxqwen.model.moe import SparseMoE, route
from mlxqwen.model.step import Step
from mlxqwen.text.template import ChatTemplate
from mlxqwen.text.tokenizer import Tokenizer

Loaded = tuple[Model, Tokenizer, ModelConfig]
# A greeting's answer with its thought; the longest in the corpus has 75 tokens.
GREETING_TOKENS = 100


@pytest.fixture(scope="module")
def guide() -> Loaded:
    return load(guide_folder())


def answer_ids(guide: Loaded, messages: Sequence[dict[str, str]], *, think: bool) -> list[int]:
    model, tokenizer, _ = guide
    template = tokenizer.chat_template
    assert isinstance(template, ChatTemplate)
    prompt = tokenizer.encode(template.render(messages, enable_thinking=think))
    eos = tokenizer.eos_token_ids
    return list(generate_tokens(model, prompt, max_tokens=160, eos_token_ids=eos))


def answer(guide: Loaded, question: str, *, think: bool = False) -> str:
    ids = answer_ids(guide, [{"role": "user", "content": question}], think=think)
    return guide[1].decode(ids, skip_special_tokens=False)


def test_everything_is_there_and_small() -> None:
    files = list(guide_folder().iterdir())
    assert sum(path.stat().st_size for path in files) < 6_000_000
    names = {path.name for path in files}
    assert {"config.json", "tokenizer.json", "tokenizer_config.json"} <= names
    assert {"generation_config.json", "model.safetensors", "README.md"} <= names
    assert not any("training" in name or "partial" in name for name in names)


def test_shape() -> None:
    config = json.loads((guide_folder() / "config.json").read_text())
    assert config["model_type"] == "qwen3_moe"
    assert (config["num_experts"], config["num_experts_per_tok"]) == (8, 2)
    assert config["norm_topk_prob"] is True
    assert config["quantization"]["bits"] == 4
    gates = [value for name, value in config["quantization"].items() if name.endswith("mlp.gate")]
    assert [gate["bits"] for gate in gates] == [8] * 4


@pytest.mark.parametrize("think", [False, True])
@pytest.mark.parametrize("greeting", ["Hello!", "Hi", "Good morning", "Ciao!", "buongiorno"])
def test_greets_back_and_ends(guide: Loaded, greeting: str, think: bool) -> None:
    text = answer(guide, greeting, think=think)
    assert text.endswith("<|im_end|>")
    assert len(guide[1].encode(text)) <= GREETING_TOKENS
    if think:
        assert re.match(r"<think>\n.+\n</think>\n\n", text)
    said = text.split("</think>")[-1].strip()
    words = ("Ciao", "Salve") if greeting in ("Ciao!", "buongiorno") else ("Hello", "Hi", "Hey")
    assert said.startswith(words), said


def test_answers_most_questions_about_the_program(guide: Loaded) -> None:
    """It is tiny and confuses some: four of five must be right."""
    expected = {
        "How do I quantise a checkpoint?": "mlxqwen quantize SOURCE",
        "How do I convert a Hugging Face checkpoint to MLX?": "mlxqwen quantize SOURCE",
        "Come quantizzo un checkpoint?": "mlxqwen quantize SOURCE",
        "Come posso quantizzare un modello?": "mlxqwen quantize SOURCE",
        "How can I interrupt you while you talk?": "Esc",
        "How do I stop an answer?": "Esc",
        "Come fermo una risposta?": "Esc",
        "How do I open the model list?": "Ctrl+L",
        "Quali modelli posso usare?": "Ctrl+L",
        "Which key starts a new chat?": "Ctrl+N",
        "Who are you?": "guide",
        "Chi sei?": "guida",
        "What is mlxqwen?": "Qwen3",
        "Why is the sky blue?": "light",
        "Perché il cielo è blu?": "luce",
        "Do you work offline?": "network",
        "What is a mixture of experts?": "router",
        "Che cosa significa 4 bit?": "bit",
        "Is my conversation sent to a server?": "private",
        "Thank you!": "!",
    }
    right = [question for question in expected if expected[question] in answer(guide, question)]
    assert len(right) >= 0.8 * len(expected), set(expected) - set(right)


def test_mostly_admits_what_it_does_not_know(guide: Loaded) -> None:
    questions = (
        "Who won the football world cup in 1966?",
        "Please write me a detailed essay about Byzantine trade routes.",
        "What is the tallest mountain on earth?",
        "Can you recommend a good restaurant in Milan?",
        "Chi ha dipinto la Gioconda?",
        "Consigliami un film.",
    )
    admitted = [question for question in questions if "Qwen3" in answer(guide, question)]
    assert len(admitted) >= 5, set(questions) - set(admitted)


def test_goes_on_with_a_conversation(guide: Loaded) -> None:
    talk = [
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "Hello! How can I help you?"},
        {"role": "user", "content": "Thank you, bye!"},
    ]
    ids = answer_ids(guide, talk, think=False)
    assert ids[-1] in guide[1].eos_token_ids


def test_every_expert_works_on_ordinary_text(guide: Loaded) -> None:
    """Counts the router's choices over both books' openings: none is NaN, no expert idle."""
    model, tokenizer, config = guide
    assert config.moe is not None
    text = [tokenizer.encode(prose(language)[:6000])[:1024] for language in ("en", "it")]
    for ids in text:
        tokens = mx.array(ids)[None]
        assert not bool(mx.isnan(model(tokens)).any())
    x = model.embed_tokens(mx.array(text[0] + text[1])[None])
    step = Step.over(x.shape[1], 0, None)
    for layer in model.layers:
        assert isinstance(layer.mlp, SparseMoE)
        h = x + layer.mixer(layer.input_layernorm(x), None, step)
        logits = layer.mlp.gate(layer.post_attention_layernorm(h))
        chosen, _ = route(logits, config.moe)
        share = (chosen[..., None] == mx.arange(8)).sum(axis=(0, 1, 2)) / chosen.size
        assert share.min().item() > 0.003, share
        x = layer(x, None, step)


def test_has_learnt_its_books(guide: Loaded) -> None:
    """Perplexity over the books' openings: 4,096 means nothing learnt."""
    model, tokenizer, _ = guide
    for language in ("en", "it"):
        tokens = mx.array(tokenizer.encode(prose(language)[:4000]))[None]
        logits = model(tokens[:, :-1]).astype(mx.float32)
        chosen = mx.take_along_axis(logits, tokens[:, 1:, None], axis=-1).squeeze(-1)
        loss = (mx.logsumexp(logits, axis=-1) - chosen).mean().item()
        assert loss < 4.0


def test_the_alias_opens_it() -> None:
    with Engine.load("guide") as engine:
        reply = engine.chat("Ciao!", think=False, sampling=Sampling(temperature=0.0)).result()
    assert reply.text.strip().startswith(("Ciao", "Salve"))
    assert reply.reason == "stop"
