# SPDX-License-Identifier: Apache-2.0
"""Regular expressions over tokens: whatever the network says, the text of the canvas matches."""

import re
import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from geodit.cli.errors import as_command_error
from geodit.modeling_geodit.patterns_geodit import CanvasLogits
from geodit.modeling_geodit.random_geodit import RowStreams
from geodit.processing import regular_expressions
from geodit.processing.regular_expressions import compile_expression, regular_expression_pattern
from geodit.processing.token_bytes import read_token_bytes

EXPRESSIONS = [
    "[0-9]+",
    "yes|no",
    "^(?:yes|no)$",
    "(?:storage tank|storage|ship|ships|shipyard)",
    "é+ß?|海{2}",
    "[一-海]{1,3}",
    "ship|ships|s|",
    "s+?(?:hip)??",
    "..?",
    r"a\$",
    r"(?:<loc_[0-9]{1,2}>){4}",
    r"-?[0-9]+(?:\.[0-9]+)?",
    "(?: yes)+",
    "",
    "(?i)harbor",
    "[^a-z]{2,4}",
]
PIECES = [
    *(
        "▁yes",
        "yes",
        "▁",
        "▁▁yes",
        "s",
        "▁sh",
        "▁a",
        "ip",
        "ship",
        "▁ship",
        "no",
        "▁no",
        "1",
        "▁1",
        "é",
        "a",
        "$",
        "▁é",
    ),
    *("▁a▁b", "<loc_3>"),
]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def sentence_piece(kind):
    """A tokenizer that writes spaces as `▁`, with one in front of the text."""
    pieces = [("</s>", 0.0), ("<unk>", 0.0), *((piece, -float(len(PIECES))) for piece in PIECES)]
    if kind == "metaspace":
        tokenizer = Tokenizer(models.Unigram(pieces, 1))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
    else:
        tokenizer = Tokenizer(models.Unigram([*pieces, *((byte, -99.0) for byte in BYTES)], 1, byte_fallback=True))
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")


@pytest.fixture(scope="session", params=["bytes", "metaspace", "byte fallback"])
def any_tokenizer(request, tokenizer):
    return tokenizer if request.param == "bytes" else sentence_piece(request.param)


@pytest.fixture(scope="session")
def patterns(any_tokenizer):
    """The patterns of all expressions that the tokenizer can write."""
    found = {}
    for expression in EXPRESSIONS:
        try:
            found[expression] = regular_expression_pattern(expression, any_tokenizer)
        except ValueError as error:
            assert "no answer" in str(error)  # noqa: PT017
    return found


def text_of(tokenizer, canvas):
    ids = canvas[: canvas.index(tokenizer.eos_token_id)] if tokenizer.eos_token_id in canvas else canvas
    return tokenizer.decode(ids, clean_up_tokenization_spaces=False)


def propose(pattern, tokenizer, length, seed=0, temperature=0.0, favorite=None, rows=3):
    """Canvases that are proposed when nothing is committed."""
    nothing = torch.zeros(rows, length, dtype=torch.long)
    logits = 2 * torch.randn(rows * length, len(tokenizer), generator=torch.Generator().manual_seed(seed))
    if favorite is not None:
        logits[torch.arange(rows * length), (favorite * rows)[: rows * length]] += 50
    random = RowStreams.spawn(rows, torch.device("cpu"), generator=torch.Generator().manual_seed(seed))
    known = CanvasLogits(logits, nothing == 0, nothing == 0, nothing)
    return pattern.propose(known, temperature=temperature, random=random).tokens.tolist()


class TestProposals:
    def test_all_expressions_are_tried_with_some_tokenizer(self, tokenizer):
        for expression in EXPRESSIONS:
            assert regular_expression_pattern(expression, tokenizer).min_length <= 8

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.sampled_from(EXPRESSIONS), st.integers(0, 4), st.integers(0, 2**20), st.sampled_from([0.0, 3.0]))
    def test_every_text_matches(self, any_tokenizer, patterns, expression, longer, seed, temperature):
        if expression not in patterns:
            return
        pattern = patterns[expression]
        for canvas in propose(pattern, any_tokenizer, max(1, pattern.min_length + longer), seed, temperature):
            text = text_of(any_tokenizer, canvas)
            assert re.fullmatch(expression, text), text

    @pytest.mark.parametrize(
        ("expression", "text"),
        [
            ("[0-9]+", "11111"),
            ("yes|no", "no"),
            ("ship|ships|yes", "ships"),
            ("é+", "ééé"),
            ("yes yes|ship", "yes yes"),
        ],
    )
    def test_what_the_tokenizer_writes_is_proposed_if_the_network_says_so(self, any_tokenizer, expression, text):
        ids = any_tokenizer(text, add_special_tokens=False).input_ids
        pattern = regular_expression_pattern(expression, any_tokenizer)
        favorite = [*ids, any_tokenizer.eos_token_id]
        canvases = propose(pattern, any_tokenizer, len(favorite), favorite=favorite)
        assert {text_of(any_tokenizer, canvas) for canvas in canvases} == {text}

    def test_no_special_token_stands_in_an_answer_but_a_special_location_token_does(self, tokenizer):
        special = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()))
        special.add_special_tokens(
            {"eos_token": tokenizer.eos_token, "extra_special_tokens": ["<image>", "<loc_1>", "<loc_2>"]}
        )
        by_id = read_token_bytes(special).by_id
        assert by_id[special.convert_tokens_to_ids("<loc_2>")] == b"<loc_2>"
        assert special.eos_token_id not in by_id
        assert special.convert_tokens_to_ids("<image>") not in by_id


class TestTokenBytes:
    def test_they_are_what_a_text_is_decoded_from(self, any_tokenizer):
        tokens = read_token_bytes(any_tokenizer)
        for text in ("yes", "ship 1 yes", "a$ no", "éé1"):
            ids = any_tokenizer(text, add_special_tokens=False).input_ids
            assert any_tokenizer.decode(ids) == text
            written = b"".join(tokens.by_id[index] for index in ids).decode()
            assert written == (" " if tokens.drops_first_space else "") + text

    def test_a_tokenizer_of_another_kind_is_refused(self):
        tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "yes": 1}, unk_token="[UNK]"))
        tokenizer.decoder = decoders.WordPiece()
        with pytest.raises(ValueError, match="decodes by WordPiece"):
            read_token_bytes(PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="[UNK]"))


class TestRefusals:
    @pytest.mark.parametrize("expression", ["(", "[z-a]", "(?=a)b", r"(a)\1", "a{2,1}"])
    def test_an_invalid_expression(self, tokenizer, expression):
        with pytest.raises(ValueError, match="is invalid"):
            regular_expression_pattern(expression, tokenizer)

    @pytest.mark.parametrize("expression", ["[^\\x00-\\U0010FFFF]", "x[^\\x00-\\U0010FFFF]"])
    def test_an_expression_that_nothing_matches(self, tokenizer, expression):
        with pytest.raises(ValueError, match="no answer"):
            regular_expression_pattern(expression, tokenizer)

    def test_a_text_that_the_tokens_cannot_write(self):
        with pytest.raises(ValueError, match="no answer"):
            regular_expression_pattern("x", sentence_piece("metaspace"))

    def test_an_expression_that_is_too_long(self, tokenizer):
        with pytest.raises(ValueError, match="2001 characters"):
            regular_expression_pattern("a" * 2001, tokenizer)

    def test_an_expression_that_would_compile_forever_is_stopped(self, tokenizer):
        with pytest.raises(ValueError, match="too large"):
            regular_expression_pattern("(?:a|b)*a(?:a|b){28}", tokenizer, timeout=0.5)

    def test_an_automaton_that_takes_too_much_memory_is_not_compiled(self, tokenizer, monkeypatch):
        pytest.importorskip("resource")
        monkeypatch.setattr(regular_expressions, "_MAX_BYTES", 2**20)
        with pytest.raises(ValueError, match="too large"):
            regular_expression_pattern("(?:a|b)*a(?:a|b){12}", tokenizer)

    def test_a_compiler_that_fails_otherwise_says_how(self, tokenizer, monkeypatch, tmp_path):
        broken = tmp_path / "compiler.py"
        broken.write_text("raise OSError('disk on fire')")
        monkeypatch.setattr(regular_expressions, "_COMPILER", broken)
        with pytest.raises(RuntimeError, match="disk on fire"):
            regular_expression_pattern("a", tokenizer)

    def test_too_many_transitions(self, tokenizer):
        with pytest.raises(ValueError, match="too large"):
            compile_expression("[0-9a-z]{1,9}", tokenizer, max_transitions=10)

    def test_an_automaton_is_plain_numbers_that_make_the_same_pattern(self, tokenizer):
        automaton = compile_expression("[0-9]{1,2}", tokenizer)
        assert automaton.num_transitions == sum(len(moves) for moves in automaton.transitions)
        assert automaton.pattern(tokenizer.eos_token_id) == regular_expression_pattern("[0-9]{1,2}", tokenizer)

    def test_a_missing_library_names_the_command_that_installs_it(self, tokenizer, monkeypatch):
        monkeypatch.setitem(sys.modules, "outlines_core", None)
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'geodit\[structured\]'") as caught:
            regular_expression_pattern("a", tokenizer)
        assert "geodit[structured]" in as_command_error(caught.value).message
