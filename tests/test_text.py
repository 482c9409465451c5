"""Text from people: what is let in, what is written down, what tells two texts apart, what finds them."""

import unicodedata
from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Meta, UnsetType

from yousinsa.errors import Invalid
from yousinsa.http.body_text import AS_SENT, EMAIL, LINES, SKU, clean_body, has_text
from yousinsa.text.cleaning import (
    UnclearText,
    clean_email,
    clean_line,
    clean_sku,
    clean_text,
    tidied,
    tidied_email,
    tidied_sku,
    tidied_text,
)
from yousinsa.text.keys import key, search_terms, search_words
from yousinsa.text.romanising import slug

NFD = unicodedata.normalize("NFD", "가방 Café")


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("가방", "가방"),
        (NFD, "가방 Café"),
        ("  a \u3000 b\n", "a b"),
        ("a\u00a0\tb\u2028c", "a b c"),
        ("👩\u200d👩\u200d👧 \u2764\ufe0f 1\ufe0f\u20e3", "👩\u200d👩\u200d👧 \u2764\ufe0f 1\ufe0f\u20e3"),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_a_line_is_composed_and_its_spaces_are_folded(typed: str, stored: str) -> None:
    assert clean_line(typed) == stored


@pytest.mark.parametrize(
    "typed",
    [
        "x\u200b", "x\u00ad", "\ufeffx", "x\u2060y", "a\u202eb", "a\u2066b", "x\x01", "\x07=1", "x\x7f",
        "x\x00", "\u3164", "\u115f\u1160", "\uffa0", "\u2800", "x\u034f", "\u180e", "x\ufe0f", "x\U000e0100",
        "x\U000e0041", "x\u200dy", "\ufffd", "\ufffe", "\ufdd0", "\u0301", "\u0301 \u0301", "\u200b\u200c",
    ],
)  # fmt: skip
def test_what_cannot_be_seen_is_refused_and_named(typed: str) -> None:
    with pytest.raises(UnclearText) as refusal:
        clean_line(typed)
    assert "U+" in str(refusal.value) or "seen" in str(refusal.value)
    with pytest.raises(UnclearText):
        clean_text(f"fine\n{typed}")


@pytest.mark.parametrize("typed", ["a\nb", "a\tb", "a\rb", "a\u2028b", "a\x85b", "x\u200b", "\u3164"])
def test_a_sku_has_no_line_ends_and_nothing_unseen_inside(typed: str) -> None:
    with pytest.raises(UnclearText):
        clean_sku(typed)


def test_skus_that_look_the_same_are_the_same() -> None:
    assert clean_sku(unicodedata.normalize("NFD", "가")) == clean_sku(" 가\n") == "가"
    assert clean_sku("\u2764\ufe0f") == clean_sku("\u2764")
    assert clean_sku("a  b") == "a b"
    assert tidied_sku("\u2764\ufe0f \u200b1") == clean_sku("\u2764\ufe0f 1") == "\u2764 1"


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        (" James@Example.COM ", "james@example.com"),
        ("jameſ@example.com", "james@example.com"),
        ("ｊａｍｅｓ＠example.com", "james@example.com"),
        ("\u212aim@example.com", "kim@example.com"),
        ("kim@한국.kr", "kim@한국.kr"),
        (unicodedata.normalize("NFD", "kim@한국.kr"), "kim@한국.kr"),
    ],
)
def test_an_address_is_the_same_however_it_is_typed(typed: str, stored: str) -> None:
    assert clean_email(typed) == tidied_email(typed) == stored


@pytest.mark.parametrize(
    "typed", ["jamıs@x.kr", "İ@x.kr", "josé@x.kr", "jаmes@x.kr", "a\u200bb@x.kr", "a\x01@x.kr"]
)
def test_an_address_with_letters_that_look_like_others_is_refused(typed: str) -> None:
    with pytest.raises(UnclearText):
        clean_email(typed)


def test_text_keeps_its_lines() -> None:
    assert clean_text(" a \r\n\r\n b\u2028c\n\n") == "a\n\nb\nc"


@given(st.text())
def test_tidied_text_is_let_in_and_cleaning_changes_clean_text_no_more(text: str) -> None:
    once = tidied(text)
    assert clean_line(once) == tidied(once) == once
    lines = tidied_text(text)
    assert clean_text(lines) == lines
    try:
        cleaned = clean_line(text)
    except UnclearText:
        return
    assert cleaned == once
    assert unicodedata.is_normalized("NFC", cleaned)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("S", "Red"), ("s", "RED"), True),
        (("STRASSE", ""), ("straße", ""), True),
        (("É", ""), ("é", ""), True),
        (("e", ""), ("é", ""), False),
        (("😀", ""), ("😁", ""), False),
        (("ㄱ", ""), ("가", ""), False),
        (("a", "b"), ("ab", ""), False),
        (("\u2764\ufe0f", ""), ("\u2764", ""), True),
    ],
)
def test_keys_tell_texts_apart_by_code_points_in_no_case(
    one: tuple[str, str], other: tuple[str, str], same: bool
) -> None:
    assert (key(*one) == key(*other)) is same


def test_search_terms_are_words_and_the_words_inside_of_korean_compounds() -> None:
    assert search_terms("데님셔츠") == {"데님셔츠", "님셔츠", "셔츠"}
    assert search_terms("청바지") == {"청바지", "바지"}
    assert search_terms("옷") == {"옷"}
    assert search_terms("나이키air 2024신상") == {"나이키air", "이키air", "air", "2024신상", "신상"}
    assert search_terms("Café ＡＢＣ it's") == {"cafe", "abc", "it", "s"}
    assert search_terms("Jackets") == {"jackets"}
    assert search_terms("!?") == set()
    assert search_words(NFD) == ["가방", "cafe"]
    assert max(map(len, search_terms("x" * 200))) == 100


@given(st.text("가나다라ab1 ", max_size=30))
def test_every_korean_word_of_two_syllables_is_found_wherever_it_stands(name: str) -> None:
    terms = search_terms(name)
    for i in range(len(name) - 1):
        part = name[i : i + 2]
        if all("가" <= char <= "힣" for char in part):
            assert any(term.startswith(part) for term in terms), (name, part)


def test_slugs_of_korean_names_can_be_read() -> None:
    assert slug("청바지") == "cheongbaji"
    assert slug(unicodedata.normalize("NFD", "데님 셔츠")) == "denim-syeocheu"
    assert slug("가방/지갑") == "gabang-jigap"
    assert slug("Men's T-Shirts") == "mens-t-shirts"
    assert slug("靴") == ""


class _Option(msgspec.Struct):
    sku: Annotated[str, Meta(max_length=3), SKU]


class _Body(msgspec.Struct):
    email: Annotated[str, Meta(min_length=3), EMAIL]
    password: Annotated[str, Meta(min_length=3), AS_SENT]
    name: Annotated[str, Meta(max_length=3)] | UnsetType = UNSET
    note: Annotated[str, LINES] | None = None
    options: Annotated[list[_Option], Meta(max_length=4)] | UnsetType | None = UNSET
    n: int = 0


class _Numbers(msgspec.Struct):
    n: int


def test_every_string_of_a_body_is_cleaned_unless_its_type_says_otherwise() -> None:
    body = {
        "email": "A@B.kr ", "password": " x\u200b ", "name": " y ", "note": "a \r\nb", "other": "x\x01",
        "options": [{"sku": " ab "}, {"sku": 7}, 3], "n": 1,
    }  # fmt: skip
    assert clean_body(body, _Body) == {
        "email": "a@b.kr", "password": " x\u200b ", "name": "y", "note": "a\nb", "other": "x\x01",
        "options": [{"sku": "ab"}, {"sku": 7}, 3], "n": 1,
    }  # fmt: skip
    assert clean_body("text", _Body) == "text"
    assert not has_text(_Numbers)
    assert has_text(_Body)


def test_what_is_wrong_with_a_body_s_text_is_told_at_each_field() -> None:
    body = {"email": "é@b.kr", "password": "", "name": "y\u200b", "options": [{"sku": "a"}, {"sku": "a\nb"}]}
    with pytest.raises(Invalid) as refusal:
        clean_body(body, _Body)
    assert set(refusal.value.errors) == {"email", "name", "options.1.sku"}
