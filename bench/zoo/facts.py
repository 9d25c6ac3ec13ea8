"""What a method's own file says about it: paper, formula, parameters, deviations."""

import inspect
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import torch

from bench.command_line import UsageError
from bench.conf.methods import node, rates
from bench.conf.operating_point import OperatingPoint, resolve
from bench.markdown import markdown_table
from quantizers import Quantizer, lookup

_PAPER = re.compile(r'"(?P<title>[^"]+)"[^"]*?(?P<link>https?://[^\s,;)]+)')
_FORMULA = re.compile(r"^Formula: (?P<text>.+?)(?:\n\n|\Z)", re.DOTALL | re.MULTILINE)
_DEVIATIONS = re.compile(r"\bDeviations?(?P<text>[:,].+?)(?=\n\n|\Z)", re.DOTALL)
_CITED = re.compile(r"\((?P<title>[^()\"]+?),\s+(?P<link>https?://[^\s,;)]+)")
_YEAR = re.compile(r"\b(?:19|20)\d\d\b")
_ESTIMATORS = {  # a part of the names in a method's file
    "straightthrough": "straight-through",
    "softassignment": "straight-through over a softmax of all codes",
    "rotationtrick": "rotation",
}


@dataclass(frozen=True)
class Facts:
    """One method as the page shows it; text in Markdown, a dash where there is nothing.

    Attributes:
        papers: link and year of all that its file cites before the deviations.
        points: the operating point of each rate, in ascending order.
        parameters: trained numbers at each operating point.
        state: stored numbers that no gradient trains, at each operating point.
        trained: names of the trained tensors.
    """

    name: str
    cls: type[Quantizer]
    file: str
    papers: list[tuple[str, str]]
    formula: str
    estimator: str
    deviations: str
    points: Mapping[float, OperatingPoint]
    parameters: list[int]
    state: list[int]
    trained: list[str]

    @property
    def paper(self) -> str:
        """The paper that the method follows."""
        return self.papers[0][0] if self.papers else "-"

    @property
    def control(self) -> list[str]:
        """A line on what a control bounds; empty for a method that competes."""
        return [] if self.cls.control is None else [f"control: {self.cls.control}"]


def facts(name: str) -> Facts:
    """Reads a registered method.

    Raises:
        UsageError: a method of the package `quantizers` has no formula.
    """
    cls = lookup(name)
    documentation = inspect.cleandoc(sys.modules[cls.__module__].__doc__ or "")
    own = cls.__module__.split(".")[0] == "quantizers"
    formula = _FORMULA.search(inspect.getdoc(cls) or "")
    if own and formula is None:
        raise UsageError(
            f"quantizer {name} has no formula; add a paragraph 'Formula: z_q = ...' below the "
            f"first line of the docstring of {cls.__name__} in quantizers/{name}.py"
        )
    deviations = [_sentence(match["text"]) for match in _DEVIATIONS.finditer(documentation)]
    points = _operating_points(name)
    tensors = [_tensors(point) for point in points.values()]
    return Facts(
        name=name,
        cls=cls,
        file=f"quantizers/{name}.py" if own else cls.__module__,
        papers=_papers(_DEVIATIONS.split(documentation)[0]),
        formula=f"`{_one_line(formula['text']).rstrip('.')}`" if formula else "-",
        estimator=_estimator(cls),
        deviations=" ".join(deviations) or "-",
        points=points,
        parameters=[sum(trained.values()) for trained, _ in tensors],
        state=[state for _, state in tensors],
        # `subquantizers.0.codebook` and its siblings share one name
        trained=sorted({re.sub(r"\.\d+(?=\.)", "", k) for trained, _ in tensors for k in trained}),
    )


def summary(methods: Sequence[Facts]) -> str:
    """All methods as one table."""
    rows = [
        {
            "method": f"[`{method.name}`](#{method.name})",
            "paper": method.paper,
            "rates": _rates(method),
            "parameters": _range(method.parameters),
            "learned": _quoted(_short(method.trained)),
            "estimator": method.estimator,
        }
        for method in methods
    ]
    return markdown_table(rows) + "\n"


def papers(methods: Sequence[Facts]) -> str:
    """Method, papers and file, as in the README."""
    rows = [
        {
            "method": f"`{method.name}`",
            "paper": ", ".join([*method.control, *_cited(method)]) or "-",
            "file": f"`{method.file}`",
        }
        for method in methods
    ]
    return markdown_table(rows) + "\n"


def section(method: Facts) -> str:
    """Everything about one method."""
    title = (inspect.getdoc(method.cls) or "-").partition("\n\n")[0]
    lines = [
        *method.control,
        f"paper: {method.paper}",
        f"file: `{method.file}`",
        f"formula: {method.formula}",
        f"learned: {_quoted(method.trained)}",
        f"estimator: {method.estimator}",
        f"deviations: {method.deviations}",
        *(f"breaks the law `{law}`: {reason}" for law, reason in method.cls.breaks.items()),
    ]
    text = f"## {method.name}\n\n{_one_line(title)}\n\n" + "\n".join(f"- {line}" for line in lines)
    return f"{text}\n\n{_points(method)}\n" if method.points else f"{text}\n"


def _points(method: Facts) -> str:
    rows = [
        {
            "rate": "∞" if math.isinf(point.bits_per_position) else f"{rate:g}",
            "operating point": point.label,
            "bits per position": f"{point.bits_per_position:.2f}".replace("inf", "∞"),
            "parameters": f"{parameters:,}",
            "state": f"{state:,}",
        }
        for (rate, point), parameters, state in zip(
            method.points.items(), method.parameters, method.state, strict=True
        )
    ]
    return markdown_table(rows)


def _operating_points(name: str) -> dict[float, OperatingPoint]:
    """All points that a YAML lists, or the defaults of a method without rates, if complete."""
    configuration = node(name)
    try:
        listed = rates(configuration)
    except UsageError:
        return {}
    with torch.random.fork_rng():
        return {rate: resolve(configuration, rate) for rate in listed}


def _tensors(point: OperatingPoint) -> tuple[dict[str, int], int]:
    """Size of each trained tensor by name, and of everything else that a checkpoint stores."""
    with torch.random.fork_rng():
        quantizer = point.build()
    trained = {name: parameter.numel() for name, parameter in quantizer.named_parameters()}
    state = quantizer.state_dict()
    return trained, sum(value.numel() for key, value in state.items() if key not in trained)


def _estimator(cls: type[Quantizer]) -> str:
    """The option `estimator`, or the estimators that the method's file names."""
    parameter = inspect.signature(cls).parameters.get("estimator")
    if parameter is not None:
        offered = ", ".join(get_args(parameter.annotation))
        return f"option: {offered} (default {parameter.default})" if offered else "option"
    names = " ".join(vars(sys.modules[cls.__module__])).replace("_", "").lower()
    used = [title for part, title in _ESTIMATORS.items() if part in names]
    return ", ".join(used) or ("none needed" if cls.control else "that of its parts")


def _papers(text: str) -> list[tuple[str, str]]:
    """Link and year of quoted titles with an address, then of citations in parentheses."""
    papers = []
    for pattern in (_PAPER, _CITED):
        for match in pattern.finditer(text):
            year = _YEAR.search(match[0].rpartition('"')[2])
            link = f"[{_one_line(match['title']).rstrip(',')}]({match['link'].rstrip('.:')})"
            papers.append((link, year[0] if year and pattern is _PAPER else ""))
    return papers


def _cited(method: Facts) -> list[str]:
    return [f"{link}, {year}" if year else link for link, year in method.papers]


def _rates(method: Facts) -> str:
    if all(math.isinf(point.bits_per_position) for point in method.points.values()):
        return "∞" if method.points else "-"
    return ", ".join(f"{rate:g}" for rate in method.points)


def _range(counts: Sequence[int]) -> str:
    if not counts:
        return "-"
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _short(names: Sequence[str]) -> Sequence[str]:
    """A few names as they are, many by the module they lie in."""
    return names if len(names) <= 4 else list(dict.fromkeys(name.split(".")[0] for name in names))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _sentence(text: str) -> str:
    """What follows `Deviations:` as a sentence."""
    text = _one_line(text)
    text = text.removeprefix(":").strip() if text.startswith(":") else f"deviations{text}"
    return text[:1].upper() + text[1:]


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "nothing"
