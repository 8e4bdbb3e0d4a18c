"""A vocoder's generator from published weights and the `config.json` beside them."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from fastgan.compat.weights.reading import WeightsError
from fastgan.compat.weights.strict import refuse_names
from fastgan.models.vocoders import load_vocoder


def vocoder_of(path: Path, kind: str, weights: Mapping[str, Tensor], config: Path) -> nn.Module:
    """The generator of a vocoder with published weights, in eval mode.

    Args:
        path: the file of the weights, for errors.
        kind: "hifigan" or "bigvgan".
        weights: by name; all forms of weight norm are accepted.
        config: the JSON of its training. The fields of the vocoder's Config are used; the others
            are settings of data and optimizers.

    Raises:
        WeightsError: no such JSON, impossible sizes, or other names or shapes of weights.
    """
    module = load_vocoder(kind)
    try:
        document = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"import_weights: {config} is not valid JSON: {error}") from error
    if not isinstance(document, dict) or "upsample_rates" not in document:
        raise WeightsError(
            f"import_weights: {config} has no upsample_rates, as a {kind}'s config.json has"
        )
    fields = {f.name for f in dataclasses.fields(module.Config)}
    try:
        made = module.Config(**{k: v for k, v in document.items() if k in fields})
        network = module.Generator(made)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"import_weights: {config}: {error}") from error
    try:
        missing, unknown = network.load_state_dict(dict(weights), strict=False)
    except RuntimeError as error:
        raise WeightsError(
            f"import_weights: generator of {path} does not fit {config}: {error}"
        ) from error
    refuse_names(path, "generator", missing, unknown)
    return network.eval()
