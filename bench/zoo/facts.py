"""What a method's own file says about it: paper, formula, parameters, deviations."""

import inspect
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import pandas as pd
import torch

from bench.conf.methods import node, rates
from bench.conf.operating_point import OperatingPoint, resolve
from bench.conf.schema import ConfigError
from quantizers import Quantizer, lookup

_PAPER = re.compile(r'"(?P<title>[^"]+)"[^"]*?(?P<link>https?://[^\s,;)]+)')
_FORMULA = re.compile(r"^Formula: (?P<text>.+?)(?:\n\n|\Z)", re.DOTALL | re.MULTILINE)
_DEVIATIONS = re.compile(r"\bDeviations?(?P<text>[:,].+?)(?=\n\n|\Z)", re.DOTALL)
_ESTIMATORS = {
    "straight_through": "straight-through",
    "soft_assignment": "straight-through over a softmax of all codes",
    "rotation_trick": "rotation",
}


@dataclass(frozen=True)
class Facts:
    """One method as the page shows it; text in Markdown, a dash where there is nothing.

    Attributes:
        points: the operating point of each rate, in ascending order.
        parameters: trained numbers at each operating point.
        state: stored numbers that no gradient trains, at each operating point.
        trained: names of the trained tensors.
    """

    name: str
    cls: type[Quantizer]
    file: str
    paper: str
    formula: str
    estimator: str
    deviations: str
    points: Mapping[float, OperatingPoint]
    parameters: list[int]
    state: list[int]
    trained: list[str]


def facts(name: str) -> Facts:
    """Reads a registered method.

    Raises:
        ConfigError: a method of the package `quantizers` has no formula.
    """
    cls = lookup(name)
    module = sys.modules[cls.__module__]
    documentation = inspect.cleandoc(module.__doc__ or "")
    own = cls.__module__.split(".")[0] == "quantizers"
    formula = _FORMULA.search(inspect.getdoc(cls) or "")
    if own and formula is None:
        raise ConfigError(
            f"quantizer {name} has no formula; add a paragraph 'Formula: z_q = ...' below the "
            f"first line of the docstring of {cls.__name__} in quantizers/{name}.py"
        )
    paper = _PAPER.search(documentation)
    deviations = [_one_line(found["text"]) for found in _DEVIATIONS.finditer(documentation)]
    points = _operating_points(name)
    tensors = [_tensors(point) for point in points.values()]
    return Facts(
        name=name,
        cls=cls,
        file=f"quantizers/{name}.py" if own else cls.__module__,
        paper=f"[{_one_line(paper['title']).rstrip(',')}]({paper['link'].rstrip('.:')})"
        if paper
        else "-",
        formula=f"`{_one_line(formula['text']).rstrip('.')}`" if formula else "-",
        estimator=_estimator(cls),
        deviations=" ".join(_sentence(text) for text in deviations) or "-",
        points=points,
        parameters=[sum(trained.values()) for trained, _ in tensors],
        state=[state for _, state in tensors],
        trained=sorted({_plain(key) for trained, _ in tensors for key in trained}),
    )


def summary(methods: Sequence[Facts]) -> str:
    """All methods as one table."""
    rows = [
        {
            "method": f"[`{one.name}`](#{one.name})",
            "paper": one.paper,
            "rates": _rates(one),
            "parameters": _range(one.parameters),
            "learned": ", ".join(f"`{name}`" for name in _short(one.trained)) or "nothing",
            "estimator": one.estimator,
        }
        for one in methods
    ]
    return _table(rows) + "\n"


def section(one: Facts) -> str:
    """One method, everything."""
    title = (inspect.getdoc(one.cls) or "-").partition("\n\n")[0]
    lines = [
        f"paper: {one.paper}",
        f"file: `{one.file}`",
        f"formula: {one.formula}",
        f"learned: {', '.join(f'`{name}`' for name in one.trained) or 'nothing'}",
        f"estimator: {one.estimator}",
        f"deviations: {one.deviations}",
    ]
    if one.cls.control is not None:
        lines.insert(0, f"control: {one.cls.control}")
    lines += [f"breaks the law `{law}`: {reason}" for law, reason in one.cls.breaks.items()]
    text = f"## {one.name}\n\n{_one_line(title)}\n\n" + "\n".join(f"- {line}" for line in lines)
    return f"{text}\n\n{_points(one)}\n" if one.points else f"{text}\n"


def _points(one: Facts) -> str:
    rows = [
        {
            "rate": "∞" if math.isinf(point.bits_per_position) else f"{rate:g}",
            "operating point": point.label,
            "bits per position": _bits(point.bits_per_position),
            "parameters": f"{parameters:,}",
            "state": f"{state:,}",
        }
        for (rate, point), parameters, state in zip(
            one.points.items(), one.parameters, one.state, strict=True
        )
    ]
    return _table(rows)


def _operating_points(name: str) -> dict[float, OperatingPoint]:
    """All that a YAML lists; of a method without rates its defaults, if they are complete."""
    configuration = node(name)
    try:
        listed = rates(configuration)
    except ConfigError:
        return {}
    with torch.random.fork_rng():
        return {rate: resolve(configuration, rate) for rate in listed}


def _tensors(point: OperatingPoint) -> tuple[dict[str, int], int]:
    """Size of each trained tensor by name, and of all that a checkpoint stores beside them."""
    with torch.random.fork_rng():
        quantizer = point.build()
    trained = {name: parameter.numel() for name, parameter in quantizer.named_parameters()}
    state = quantizer.state_dict()
    return trained, sum(value.numel() for key, value in state.items() if key not in trained)


def _estimator(cls: type[Quantizer]) -> str:
    """The option `estimator`, or the estimator that the method's file imports."""
    parameter = inspect.signature(cls).parameters.get("estimator")
    if parameter is not None:
        offered = ", ".join(get_args(parameter.annotation))
        return f"option: {offered} (default {parameter.default})" if offered else "option"
    module = sys.modules[cls.__module__]
    used = [title for name, title in _ESTIMATORS.items() if hasattr(module, name)]
    if used:
        return ", ".join(used)
    return "none needed" if cls.control else "that of its parts"


def _rates(one: Facts) -> str:
    if all(math.isinf(point.bits_per_position) for point in one.points.values()):
        return "∞" if one.points else "-"
    return ", ".join(f"{rate:g}" for rate in one.points)


def _range(counts: Sequence[int]) -> str:
    if not counts:
        return "-"
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _bits(bits: float) -> str:
    return "∞" if math.isinf(bits) else f"{bits:.2f}"


def _plain(key: str) -> str:
    """`subquantizers.0.codebook` and its siblings share one name."""
    return re.sub(r"\.\d+(?=\.)", "", key)


def _short(names: Sequence[str]) -> Sequence[str]:
    """A few names as they are, many by the module they lie in."""
    return names if len(names) <= 4 else list(dict.fromkeys(name.split(".")[0] for name in names))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _sentence(text: str) -> str:
    """What follows `Deviations:` as a sentence of its own."""
    text = text.removeprefix(":").strip() if text.startswith(":") else f"deviations{text}"
    return text[:1].upper() + text[1:]


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    return str(pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True))
