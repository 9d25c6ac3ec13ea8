"""Options of the commands that need no Hydra: `key=value`, and `--key` for a switch. No torch."""

from collections.abc import Mapping, Sequence


class OptionError(ValueError):
    """An argument is none of the options; the message says what is known."""


def read_options(arguments: Sequence[str], defaults: Mapping[str, str]) -> dict[str, str]:
    """The options that a command line gives, and the defaults of the others.

    An option whose default is `true` or `false` is a switch and takes no other value.

    Raises:
        OptionError: an unknown option, one without a value, or a switch that is neither on nor off.
    """
    switches = [key for key, value in defaults.items() if value in ("true", "false")]
    options = dict(defaults)
    for argument in arguments:
        if argument.removeprefix("--") in switches:
            argument = f"{argument.removeprefix('--')}=true"
        key, _, value = argument.partition("=")
        if key not in options or not value:
            known = ", ".join(f"{name}=" for name in options)
            raise OptionError(f"unknown option {argument!r}; known: {known}")
        if key in switches and value not in ("true", "false"):
            raise OptionError(f"{key} must be true or false, got {value!r}")
        options[key] = value
    return options
