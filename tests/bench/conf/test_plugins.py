import pytest

from bench.command_line import UsageError
from bench.conf.plugins import as_list, load, requested, signature_defaults
from quantizers import lookup


@pytest.mark.parametrize(
    ("arguments", "modules"),
    [
        ([], []),
        (["seed=1"], []),
        (["plugins=mine"], ["mine"]),
        (["plugins=a.b"], ["a.b"]),
        (["plugins=[one,two]", "seed=0,1"], ["one", "two"]),
        (["plugins=null"], []),
    ],
)
def test_plugins_are_read_off_the_command_line(arguments, modules):
    assert requested(arguments) == modules


def test_a_sweep_over_plugins_says_how_to_write_a_list():
    with pytest.raises(UsageError, match=r"plugins=\[one,two\]"):
        requested(["plugins=one,two"])


@pytest.mark.parametrize(("given", "modules"), [(None, []), ("a", ["a"]), (["a", "b"], ["a", "b"])])
def test_one_name_and_a_list_are_the_same(given, modules):
    assert as_list(given) == modules


def test_a_plugin_that_fails_to_import_is_named_with_its_error(tmp_path, monkeypatch):
    (tmp_path / "bad_plugin.py").write_text("raise RuntimeError('boom')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"bad_plugin cannot be imported \(RuntimeError: boom\)"):
        load(["bad_plugin"])


def test_defaults_come_from_the_signature():
    defaults = signature_defaults(lookup("lfq"))
    assert defaults["latent_channels"] is None
    assert defaults["entropy_weight"] == 0.1
