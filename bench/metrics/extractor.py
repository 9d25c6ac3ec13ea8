"""The feature extractors by name: one list for runs, for `bench.score` and for plugins.

- `inception`: the Inception v3 of the original FID. Its Frechet distance is rFID.
- `scattering`: the embedded extractor of `bench.metrics.scattering`, which needs no file. Its
  distance is a proxy with its own key; tables never mix the two.
- `auto`: Inception if its weights are on this machine, and scattering otherwise.
- all others of `bench.metrics.registered`.

Nothing is ever downloaded. To add an extractor, write a new file and add a line to `EXTRACTORS`. A
plugin only needs the decorator:

    @EXTRACTORS.register("mine")
    def mine(size: int = 32) -> Extractor:  # the arguments are the options of the extractor
        network = partial(Mine, size)       # uint8 images (b, 3, h, w) to features (b, d)
        return Extractor(name="mine", identity=f"mine-v1-{size}", label="...", build=network)
"""

from collections.abc import Mapping
from typing import Any

from bench.metrics.features import Extractor
from models.weights import CLIP, DINOV2
from quantizers.registry import Registry

_OWN = ("auto", "inception", "inception-spatial", "scattering", "vgg16", *DINOV2, *CLIP)
EXTRACTORS: Registry[Extractor] = Registry(
    "extractor", modules=dict.fromkeys(_OWN, "bench.metrics.registered")
)


def choose_extractor(choice: str | Mapping[str, Any]) -> Extractor:
    """An extractor by name, or by a mapping with `name` and options.

    Raises:
        FileNotFoundError: its weights are not on this machine; says where they go.
        ValueError: unknown name or option, a file with other content than the published one (also
            for `auto`: a damaged file must not silently change the metric), or a plugin's
            extractor that takes another's key.
    """
    options = {"name": choice} if isinstance(choice, str) else dict(choice)
    name = options.pop("name")
    extractor = EXTRACTORS.build(name, **options)
    own_key = f"fd_{name.replace('-', '_')}"
    if name not in _OWN and not extractor.metric_key.startswith(own_key):
        raise ValueError(
            f"extractor {name}: metric_key must begin with {own_key!r}, got "
            f"{extractor.metric_key!r}; only the Frechet distance of Inception is called rFID"
        )
    return extractor
