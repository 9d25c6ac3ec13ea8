"""The registry of quantizers: how a method's file, name, examples and imports fit together."""

import ast
import inspect
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest

import quantizers
from quantizers import Quantizer, available, build, load_entry_points, lookup, register, registry

PACKAGE = Path(quantizers.__file__).parent
SOURCES = {path.stem: ast.parse(path.read_text()) for path in PACKAGE.glob("*.py")}


def test_every_file_that_defines_a_method_is_registered_under_its_own_name():
    defined = {(stem, name) for stem, tree in SOURCES.items() for name in _registered_in(tree)}
    assert defined == {(name, name) for name in available()}


def test_every_method_has_examples(examples):
    assert set(examples) == set(available())


@pytest.mark.parametrize("name", available())
def test_the_examples_give_every_hyperparameter(examples, name):
    expected = set(inspect.signature(lookup(name)).parameters)
    assert {key for example in examples[name] for key in example} == expected


@pytest.mark.parametrize("name", available())
def test_hyperparameters_are_keyword_only(name):
    for parameter in inspect.signature(lookup(name)).parameters.values():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("name", available())
def test_a_broken_law_is_a_known_law_and_has_a_reason(laws, name):
    breaks = lookup(name).breaks
    assert set(breaks) <= set(laws)
    assert all(breaks.values())


@pytest.mark.parametrize("name", available())
def test_a_method_is_final_and_says_where_it_comes_from(name):
    cls = lookup(name)
    assert Quantizer in cls.__bases__
    assert cls.__doc__
    assert cls.control is not None or "https://arxiv.org/abs/" in inspect.getmodule(cls).__doc__


@pytest.mark.parametrize("name", available())
def test_no_method_imports_another_method(name):
    methods = {f"quantizers.{stem}" for stem, tree in SOURCES.items() if _registered_in(tree)}
    assert not methods & _imported_by(SOURCES[name])


def test_all_lists_the_public_names():
    public = {
        name
        for name, value in vars(quantizers).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert sorted(public) == quantizers.__all__


def test_build_passes_hyperparameters_on():
    assert build("fsq", levels=(8, 5)).codebook_sizes == (40,)


def test_an_unknown_name_lists_the_known_and_the_nearest():
    known = ", ".join(available())
    with pytest.raises(
        ValueError, match=rf"^unknown quantizer 'nome'; known: {known}; .*'none'\?$"
    ):
        build("nome")
    with pytest.raises(ValueError, match=rf"^unknown quantizer 'zzzzz'; known: {known}$"):
        lookup("zzzzz")


@pytest.mark.parametrize("other", [int, build, "vq"], ids=["class", "function", "string"])
def test_only_a_quantizer_can_be_registered(other):
    known = available()
    with pytest.raises(TypeError, match=r"@register\('name'\) expects a subclass of Quantizer"):
        inspect.unwrap(register("name"))(other)
    assert available() == known


def test_installed_packages_can_offer_methods(monkeypatch):
    loaded = []
    entry_point = EntryPoint(name="mine", value="mine", group="quantizers")
    monkeypatch.setattr(EntryPoint, "load", lambda self: loaded.append(self.name))
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [entry_point] if group == "quantizers" else []
    )
    load_entry_points()
    assert loaded == ["mine"]


def test_a_latent_without_channels_is_refused():
    with pytest.raises(ValueError, match="latent_channels must be at least 1, got 0"):
        build("none", latent_channels=0)


def _registered_in(tree: ast.Module) -> list[str]:
    """Names in the `@register("name")` decorators of a module's classes."""
    return [
        decorator.args[0].value
        for statement in tree.body
        if isinstance(statement, ast.ClassDef)
        for decorator in statement.decorator_list
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "register"
    ]


def _imported_by(tree: ast.Module) -> set[str]:
    """Dotted names of all imports at any depth; `from a import b` gives a and a.b."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return names
