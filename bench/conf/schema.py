"""Types of the configuration. The values live in `bench/conf/*.yaml`, no number in both."""

from dataclasses import dataclass
from typing import Any, cast

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

BUDGETS = {"S": 1, "M": 3, "L": 10}  # multiples of the recipe's steps
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "float32", "bfloat16")
SPLITS = ("test", "tune")
RULESETS = ("default", "tuned")


class ConfigError(ValueError):
    """What the user typed cannot be run; the message says what to type instead."""


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
class DiscriminatorConfig:
    """The discriminator, the same for every quantizer."""

    name: str
    channels: int
    layers: int


@dataclass
class LossConfig:
    """Training losses outside the quantizer."""

    reconstruction_weight: float
    perceptual: str
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
    """One way to train, shared by all quantizers of a table."""

    name: str
    image_size: int
    steps: int
    batch_size: int
    log_every: int
    checkpoint_every: int
    frame: FrameConfig
    discriminator: DiscriminatorConfig
    losses: LossConfig
    optimizer: OptimizerConfig


@dataclass
class DataConfig:
    """A data set and how it is read."""

    name: str
    root: str | None
    workers: int


@dataclass
class BenchConfig:
    """One run: one quantizer at one rate and one seed in a fixed harness."""

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
    extractor: str
    perceptual_metric: str
    plugins: Any
    runs: str
    leaderboards: str
    compile: bool
    tensorboard: bool
    retry: bool

    @property
    def steps(self) -> int:
        """Training steps of this budget."""
        return self.recipe.steps * BUDGETS[self.budget]


def register_schema() -> None:
    """Makes the types known to Hydra; called by the entry point, not on import."""
    ConfigStore.instance().store(name="schema", node=BenchConfig)


def parse(cfg: DictConfig) -> BenchConfig:
    """Turns a composed configuration into plain, checked dataclasses.

    Raises:
        ConfigError: a value that its type cannot rule out, with what is allowed.
    """
    config = cast(BenchConfig, OmegaConf.to_object(cfg))
    _one_of("budget", config.budget, tuple(BUDGETS))
    _one_of("device", config.device, DEVICES)
    _one_of("precision", config.precision, PRECISIONS)
    _one_of("split", config.split, SPLITS)
    _one_of("ruleset", config.ruleset, RULESETS)
    if (config.ruleset == "tuned") != (config.trials > 0):
        raise ConfigError(
            f"ruleset={config.ruleset} with trials={config.trials}: tuned hyper-parameters took "
            "one trial or more, default ones none; python -m bench.tune sets both"
        )
    for name, value in {
        "recipe.steps": config.recipe.steps,
        "recipe.batch_size": config.recipe.batch_size,
        "recipe.log_every": config.recipe.log_every,
        "recipe.checkpoint_every": config.recipe.checkpoint_every,
        "recipe.image_size": config.recipe.image_size,
    }.items():
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, got {value}")
    if config.seed < 0:
        raise ConfigError(f"seed must not be negative, got {config.seed}")
    return config


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name}={value} is unknown; known: {', '.join(allowed)}")
