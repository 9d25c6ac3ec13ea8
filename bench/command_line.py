"""The command line of every command: `KEY=VALUE`, `--KEY` for a switch, `--help`. Needs no torch.

A command calls `run_command` with its docstring as help and a table of its options with their
defaults. Every error is one line on standard error that begins with `error:`.
"""

import difflib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130  # exit codes; 130 is the shell's for Ctrl-C


class UsageError(ValueError):
    """The user typed something that cannot be done; the message says what to type instead."""


class Options(dict[str, str]):
    """Options by name, as typed or by default.

    Attributes:
        others: words that are not options of the command, in the order typed.
    """

    others: tuple[str, ...] = ()

    def folder(self, name: str) -> Path:
        """An option that names a file or folder."""
        return Path(self[name])

    def switch(self, name: str) -> bool:
        """Whether a switch is on."""
        return self[name] == "true"

    def listed(self, name: str) -> list[str]:
        """Values separated by commas; an empty option is an empty list."""
        return self[name].split(",") if self[name] else []

    def one_of(self, name: str, known: Iterable[str]) -> str:
        """A value that must be known.

        Raises:
            UsageError: it is not.
        """
        return known_name(name, self[name], known)

    def integer(self, name: str, *, at_least: int = 0) -> int:
        """A whole number.

        Raises:
            UsageError: it is not one, or too small.
        """
        return whole_number(name, self[name], at_least=at_least)

    def number(self, name: str) -> float:
        """A number above 0.

        Raises:
            UsageError: it is not one.
        """
        try:
            number = float(self[name])
        except ValueError:
            number = 0.0
        if not 0 < number < float("inf"):
            raise UsageError(f"{name}={self[name]} must be a number above 0")
        return number


def run_command(
    command: Callable[[Options], int],
    *,
    help: str | None,
    defaults: Mapping[str, str],
    arguments: Sequence[str] | None = None,
    takes: Callable[[str], bool] = lambda word: False,
    expected: tuple[type[Exception], ...] = (),
    stopped: str = "stopped",
) -> int:
    """Runs a command; returns its exit code.

    Args:
        command: gets the options and returns an exit code.
        help: printed for `--help`; None leaves `--help` to the command.
        defaults: of each option. One whose default is `true` or `false` is a switch.
        arguments: the words typed; None takes those of the process.
        takes: whether a word that is not an option goes to `Options.others`.
        expected: exceptions, besides `UsageError`, that the user can mend.
        stopped: what to say after Ctrl-C.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if help is not None and any(word in ("-h", "--help") for word in arguments):
        print(help.strip())
        return DONE
    mendable: tuple[type[Exception], ...] = (UsageError, *expected)
    try:
        return command(read_options(arguments, defaults, takes=takes))
    except mendable as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt as error:
        print(f"\n{str(error) or stopped}", file=sys.stderr)
        return INTERRUPTED


def read_options(
    arguments: Sequence[str],
    defaults: Mapping[str, str],
    *,
    takes: Callable[[str], bool] = lambda word: False,
) -> Options:
    """Sorts words into options and others; see `run_command`.

    Raises:
        UsageError: an unknown option, one without a value or given twice, or a switch that is
            neither true nor false.
    """
    given: dict[str, str] = {}
    others = []
    for word in arguments:
        key, _, value = word.partition("=")
        if defaults.get(word.removeprefix("--")) in ("true", "false"):
            key, value = word.removeprefix("--"), "true"
        if key not in defaults:
            if not takes(word):
                raise UsageError(did_you_mean("option", word, [f"{name}=" for name in defaults]))
            others.append(word)
            continue
        if not value:
            raise UsageError(f"{word} has no value; type {key}=VALUE")
        if key in given:
            raise UsageError(f"{key}= is given twice: {given[key]} and {value}")
        if defaults[key] in ("true", "false") and value not in ("true", "false"):
            raise UsageError(f"{key} must be true or false, got {value!r}")
        given[key] = value
    options = Options({**defaults, **given})
    options.others = tuple(others)
    return options


def whole_number(name: str, word: str, *, at_least: int = 0) -> int:
    """A whole number that was typed.

    Raises:
        UsageError: it is not one, or too small.
    """
    if not (word.isascii() and word.isdigit()) or int(word) < at_least:
        raise UsageError(f"{name}={word} must be a whole number, at least {at_least}")
    return int(word)


def known_name(what: str, name: str, known: Iterable[str]) -> str:
    """A name that must be known.

    Raises:
        UsageError: it is not; the message lists the known names and the nearest one.
    """
    known = list(known)
    if name not in known:
        raise UsageError(did_you_mean(what, name, known))
    return name


def did_you_mean(what: str, name: str, known: Iterable[str]) -> str:
    """`unknown quantizer 'gqs'; known: fsq, gsq, lfq; did you mean 'gsq'?`."""
    known = sorted(known)
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    listed = f"known: {', '.join(known)}" if known else "see --help"
    return f"unknown {what} {name!r}; {listed}{hint}"
