# SPDX-License-Identifier: Apache-2.0
"""Filling in templates."""

import pytest

from geodit.hub_cards.card.markdown import Markdown
from geodit.hub_cards.card.templating import TEMPLATES, fill_template


@pytest.fixture
def render(tmp_path):
    def filled(source, **values):
        path = tmp_path / "own.md.jinja"
        path.write_text(source)
        return fill_template(path, values)

    return filled


def test_statements_and_missing_sections_leave_no_blank_lines_behind(render):
    source = "a\n\n{% if section %}\n## Section\n{% endif %}\n\nb {{ c }}\n"
    assert render(source, c=1) == "a\n\nb 1\n"
    assert render(source, c=1, section=True) == "a\n\n## Section\n\nb 1\n"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("runs/stage2, mAP@0.5: 0.25 ± 0.1", "runs/stage2, mAP@0.5: 0.25 ± 0.1"),
        ("<a> & 'b'", "`<a> & 'b'`"),
        ("a\n\n# b", "`a # b`"),
        ("- a", "`- a`"),
        (-0.5, "-0.5"),
        (["a"], "`['a']`"),
        (Markdown("**a**"), "**a**"),
    ],
)
def test_what_is_printed_shows_as_it_reads(render, value, shown):
    assert render("{{ value }}", value=value) == shown


def test_filters_are_for_code_and_html(render):
    hostile = '`"<b>\n'
    filters = "{{ value | code }} {{ value | literal }} {{ value | html_text }}"
    assert render(filters, value=hostile) == '`` `"<b> `` "`\\"<b>\\n" `&quot;&lt;b&gt;'


def test_what_a_block_of_ours_prints_is_not_escaped_again(render):
    text = render(
        '{% extends "adapter_card.md.jinja" %}{% block summary %}{% endblock %}{% block usage %}{% endblock %}'
        "{% block architecture %}## **Mine** {{ name }}{% endblock %}{% block citation %}{{ super() }}{% endblock %}",
        name="<i>",
        data={"published": (), "made": ()},
    )
    assert "## **Mine** `<i>`" in text
    assert "```bibtex\n@inproceedings" in text


def test_every_template_of_ours_can_be_extended(render):
    assert {path.name for path in TEMPLATES.iterdir()} == {
        "adapter_card.md.jinja",
        "citation.md.jinja",
        "dataset_card.md.jinja",
        "imported_card.md.jinja",
        "model_card.md.jinja",
    }
    blocks = '{% extends "model_card.md.jinja" %}{% block no_such %}{% endblock %}'
    with pytest.raises(ValueError, match=r"own\.md\.jinja cannot be used: .*undefined"):
        render(blocks)


@pytest.mark.parametrize(
    "source",
    [
        "{{ a",
        "{% extends 'other.jinja' %}",
        "{{ a.b.c }}",
        "{{ ''.__class__.__mro__ }}",
        "{% include '../setup.cfg' %}",
    ],
)
def test_a_template_that_cannot_be_used_is_named(render, source):
    with pytest.raises(ValueError, match=r"the template .*own\.md\.jinja cannot be used"):
        render(source)


def test_a_template_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="there is no template"):
        fill_template(tmp_path / "missing", {})
