"""`Registry`: parts of any kind by name."""

import inspect
from typing import Any

import pytest

from quantizers import registry
from quantizers.registry import Registry


class Net:
    """A part with one option that is required, one that has a default, and one that is given."""

    def __init__(self, *, channels: int, width: int, depth: int = 2) -> None:
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        self.sizes = channels, width, depth


class Loose:
    def __init__(self, width: int = 1, **others: Any) -> None:
        self.others = others


@pytest.fixture
def nets() -> Registry[Any]:
    nets = Registry[Any]("net", given=["channels"])
    nets.register("deep")(Net)
    nets.register("loose")(Loose)
    return nets


def test_register_returns_what_it_was_given_and_names_are_sorted():
    nets = Registry[Any]("net")
    for name in "fbdeac":
        assert nets.register(name)(Net) is Net
    assert nets.available() == list("abcdef")
    assert nets.lookup("a") is Net


def test_a_taken_name_is_refused_and_stays_with_its_owner(nets):
    message = f"net name 'deep' is taken by {__name__}; {__name__} must choose another"
    with pytest.raises(ValueError, match=message):
        nets.register("deep")(Loose)
    assert nets.lookup("deep") is Net


def test_an_unknown_name_lists_the_known_and_the_nearest(nets):
    with pytest.raises(
        ValueError, match=r"^unknown net 'deap'; known: deep, loose; did you mean 'deep'\?$"
    ):
        nets.build("deap")
    with pytest.raises(ValueError, match=r"^unknown net 'zzz'; known: deep, loose$"):
        nets.lookup("zzz")


def test_options_have_their_defaults_and_leave_out_what_is_given(nets):
    assert nets.options("deep") == {"width": inspect.Parameter.empty, "depth": 2}
    assert nets.options("loose") == {"width": 1}


def test_build_passes_options_and_given_parameters_on(nets):
    assert nets.build("deep", channels=3, width=8).sizes == (3, 8, 2)
    assert nets.build("loose", anything=5).others == {"anything": 5}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"width": 8, "dept": 3},
            r"^unknown option of net deep: 'dept'; .*did you mean 'depth'\?$",
        ),
        ({"depth": 3}, "^net deep needs width$"),
        ({"width": 8, "depth": 0}, "^depth must be at least 1, got 0$"),
    ],
)
def test_wrong_options_are_refused(nets, options, message):
    with pytest.raises(ValueError, match=message):
        nets.build("deep", channels=3, **options)


@pytest.fixture
def built_in(monkeypatch) -> Registry[Any]:
    """A registry with one part in a module that registers it when it is imported."""
    nets = Registry[Any]("net", modules={"wide": __name__})
    importing = {__name__: lambda: nets.register("wide")(Net)}
    monkeypatch.setattr(registry, "import_module", lambda module: importing[module]())
    return nets


def test_a_module_is_imported_when_its_part_is_asked_for(built_in):
    assert built_in.available() == ["wide"]
    assert built_in.options("wide")["depth"] == 2


def test_the_name_of_a_built_in_part_is_taken_before_its_module_is_imported(built_in):
    with pytest.raises(ValueError, match=f"net name 'wide' is taken by {__name__}; builtins must"):
        built_in.register("wide")(dict)
