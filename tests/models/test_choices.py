import pytest

from models.choices import choose

COLOURS = {"red": 1, "green": 2, "blue": 3}


def test_a_known_name_gives_its_entry():
    assert choose(COLOURS, "green", what="colour") == 2


def test_an_unknown_name_lists_the_known_and_the_nearest():
    expected = "unknown colour 'gren'; known: blue, green, red; did you mean 'green'?"
    with pytest.raises(ValueError, match=expected.replace("?", r"\?")):
        choose(COLOURS, "gren", what="colour")


def test_nothing_is_suggested_where_nothing_is_near():
    with pytest.raises(ValueError, match=r"known: blue, green, red$"):
        choose(COLOURS, "xyzzy", what="colour")
