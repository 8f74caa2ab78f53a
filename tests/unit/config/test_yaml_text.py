"""The YAML of a config: plain values of YAML 1.2, nothing else (RC-001 to RC-006)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptycho_dist.config.yaml_text import YamlError, parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),  # a string in YAML 1.1
        ("010", 10),  # eight in YAML 1.1
        ("on", "on"),  # true in YAML 1.1
        ("12:30:00", "12:30:00"),  # 45000 in YAML 1.1
        ("2026-01-01", "2026-01-01"),  # a date in YAML 1.1
        ("true", True),
        ("~", None),
        ("-5", -5),
        ('"5"', "5"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, value):
    parsed = parse_yaml(f"key: {text}", "test")["key"]
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2", "test:2:1: the key 'a' appears twice"),
        ("outer: {a: 1, b: {c: 1}, a: 2}", "the key 'a' appears twice"),
        ("list: [{a: 1}, {a: 2, a: 3}]", "the key 'a' appears twice"),
        ("a: 1\n\tb: 2", "contains a tab"),
        ("a: &x 1\nb: *x", "aliases are not allowed"),
        ("a: !!python/object/apply:os.system [id]", "tag"),
        ("a: !custom 1", "tag"),
        ("a: [1", "not valid YAML"),
        ("a: b: c", "not valid YAML"),
        ("a: 1\n---\nb: 2", "not valid YAML"),
        ("{" * 50, "nested more than"),
        ("a: " + "9" * 6000, "test"),
        ("x" * 2_000_000, "too many"),
    ],
)
def test_surprises_are_refused_with_their_place(text, words):
    with pytest.raises(YamlError, match=r"^test") as caught:
        parse_yaml(text, "test")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_same_key_in_two_sections_is_no_repetition():
    text = "a: {x: 1, y: {x: 1}}\nb: {x: 2}\nc: [{x: 1}, {x: 2}]"
    assert parse_yaml(text, "test")["b"] == {"x": 2}


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_in_one_line(text):
    message = "none"
    try:
        parse_yaml(text, "test")
    except YamlError as error:
        message = str(error)
    assert len(message.splitlines()) == 1
