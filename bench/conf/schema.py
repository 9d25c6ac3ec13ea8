"""The types of the configuration; its values are in `bench/conf/*.yaml`, no number in both.

A field with a default here is newer than the protocol's version: while it has its default, it is no
part of the protocol, so that a new option renames no table.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from bench.command_line import UsageError, known_name, whole_number

BUDGETS = {"S": 1, "M": 3, "L": 10}  # multiples of the recipe's steps
MOVES_NO_NUMBER = (  # what changes neither a run's weights nor its scores
    *("runs", "leaderboards", "tensorboard", "retry"),
    *("recipe.log_every", "recipe.checkpoint_every"),
)
_ALLOWED = {
    "budget": tuple(BUDGETS),
    "device": ("auto", "cpu", "cuda"),
    "precision": ("auto", "float32", "bfloat16"),
    "split": ("test", "tune"),
    "ruleset": ("default", "tuned"),
}


@dataclass
class FrameConfig:
    """The encoder and decoder, the same for every quantizer; see `models/`."""

    channels: int
    multipliers: list[int]
    encoder_depths: list[int]
    decoder_depths: list[int]
    feature_channels: int
    attention: bool
    depth_to_space: bool
    adaptive_norm: bool
    norm_groups: int


@dataclass
class LossConfig:
    """Training losses outside the quantizer; `perceptual` is a name or a mapping."""

    reconstruction_weight: float
    perceptual: Any
    perceptual_weight: float
    adversarial_weight: float
    generator: str
    discriminator: str


@dataclass
class OptimizerConfig:
    """AdamW of autoencoder and discriminator, and the average of the weights."""

    learning_rate: float
    discriminator_learning_rate: float
    betas: list[float]
    weight_decay: float
    gradient_clip: float
    ema_decay: float


@dataclass
class RecipeConfig:
    """One way to train, shared by all quantizers of a table.

    Attributes:
        discriminator: its `name` and options.
    """

    name: str
    image_size: int
    steps: int
    batch_size: int
    log_every: int
    checkpoint_every: int
    frame: FrameConfig
    discriminator: dict[str, Any]
    losses: LossConfig
    optimizer: OptimizerConfig


@dataclass
class DataConfig:
    """A data set, how it is read, and its own options."""

    name: str
    root: str | None
    workers: int
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class BenchConfig:
    """One run: one quantizer at one rate and one seed in a fixed harness.

    Attributes:
        extractor: a name or a mapping, as `perceptual_metric`; see `name_and_options`.
        metrics: what to measure beyond the metrics of every run.
    """

    quantizer: dict[str, Any]
    recipe: RecipeConfig
    data: DataConfig
    seed: int
    rate: float
    budget: str
    split: str
    ruleset: str
    trials: int
    device: str
    precision: str
    extractor: Any
    perceptual_metric: Any
    plugins: Any
    runs: str
    leaderboards: str
    tensorboard: bool
    retry: bool
    compile: bool = False
    metrics: list[str] = field(default_factory=list)

    @property
    def steps(self) -> int:
        """Training steps of this budget."""
        return self.recipe.steps * BUDGETS[self.budget]


@dataclass
class _Composed(BenchConfig):
    """What Hydra composes: here the options of a data set still stand beside its name."""

    data: dict[str, Any]  # type: ignore[assignment]


def register_schema() -> None:
    """Makes the types known to Hydra."""
    ConfigStore.instance().store(name="schema", node=_Composed)


def parse(cfg: DictConfig) -> BenchConfig:
    """Turns a composed configuration into plain, checked dataclasses.

    Raises:
        UsageError: a value that its type cannot rule out; the message says what is allowed.
    """
    composed = cast(_Composed, OmegaConf.to_object(cfg))
    config = BenchConfig(**(vars(composed) | {"data": _data(composed.data)}))
    for name, allowed in _ALLOWED.items():
        known_name(name, getattr(config, name), allowed)
    if (config.ruleset == "tuned") != (config.trials > 0):
        raise UsageError(
            f"ruleset={config.ruleset} with trials={config.trials}: tuned hyper-parameters took "
            "one trial or more, default ones none; python -m bench.tune sets both"
        )
    for name in ("steps", "batch_size", "log_every", "checkpoint_every", "image_size"):
        if getattr(config.recipe, name) < 1:
            raise UsageError(
                f"recipe.{name} must be at least 1, got {getattr(config.recipe, name)}"
            )
    if config.seed < 0:
        raise UsageError(f"seed must not be negative, got {config.seed}")
    name_and_options("recipe.discriminator", config.recipe.discriminator)
    name_and_options("recipe.losses.perceptual", config.recipe.losses.perceptual)
    name_and_options("perceptual_metric", config.perceptual_metric)
    name_and_options("extractor", config.extractor)
    return config


def name_and_options(key: str, part: Any) -> tuple[str, dict[str, Any]]:
    """Splits a part of the configuration: a name, or a mapping `{name: mine, option: 3}`.

    Raises:
        UsageError: it is neither.
    """
    options = dict(part) if isinstance(part, Mapping) else {"name": part}
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise UsageError(f"{key} must be a name, or {{name: NAME, OPTION: VALUE}}, got {part!r}")
    return name, options


def moves_no_number(override: str) -> bool:
    """Whether `KEY=VALUE` leaves a run's weights and scores as they are."""
    return override.partition("=")[0] in MOVES_NO_NUMBER


def _data(flat: Mapping[str, Any]) -> DataConfig:
    name, options = name_and_options("data", flat)
    root, workers = options.pop("root", None), options.pop("workers", 0)
    return DataConfig(
        name=name,
        root=None if root is None else str(root),
        workers=whole_number("data.workers", str(workers)),
        options=options,
    )
