# SPDX-License-Identifier: Apache-2.0
"""Inception, trained in 2015 on ImageNet: the network of FID, from a file of the person's own."""

import hashlib
import warnings

import torch
from torch import Tensor, nn

from fastgan.metrics.features import to_uint8
from fastgan.metrics.inception.weights import Weights

__all__ = ["Inception"]

NUM_FEATURES, NUM_CLASSES = 2048, 1008


class Inception(nn.Module):
    """Images [N, C, H, W] → float32 [N, 2048], or [N, 2048 + 1008].

    The first 2048 columns are the features of FID (Heusel et al. 2017), the others the
    probabilities of the classes, without the last layer's bias, of the Inception score (Salimans
    et al. 2016). Images go through `to_uint8`; grey ones are repeated. The network itself resizes
    them to 299 × 299 as TensorFlow 1 did.

    A TorchScript file is called as NVIDIA's is: net(uint8 [N, 3, H, W], return_features=True)
    gives the features, and net(x, no_output_bias=True) the probabilities. TorchScript runs in an
    interpreter of torch; like any network from elsewhere, use files that you trust.

    Args:
        weights: the file.
        has_probabilities: whether the second part is computed, too.

    Raises:
        ValueError: the file is no such network.
        ImportError: torch-fidelity cannot be imported.
    """

    resize = "299x299 bilinear as TensorFlow 1, by the network"

    def __init__(self, weights: Weights, *, has_probabilities: bool = False) -> None:
        super().__init__()
        self.has_probabilities, self._is_script = has_probabilities, weights.is_script
        self.fingerprint = hashlib.sha256(weights.path.read_bytes()).hexdigest()
        self.name = f"{'inception-2015-12-05' if weights.is_script else 'torch-fidelity inception'}"
        self.name += f" (SHA-256 {self.fingerprint[:8]})"
        parts = ["2048", "logits_unbiased"] if has_probabilities else ["2048"]
        self.net = _load_script(weights) if weights.is_script else _load_fidelity(weights, parts)
        self.requires_grad_(False).eval()
        wanted = [1, NUM_FEATURES + NUM_CLASSES * has_probabilities]
        try:
            found = self(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
        except RuntimeError as error:
            raise ValueError(
                f"Inception: {weights.path} cannot be called as NVIDIA's file is: {error}"
            ) from error
        if list(found.shape) != wanted:
            raise ValueError(
                f"Inception: {weights.path} must give {wanted} numbers, got {list(found.shape)}"
            )
        total = float(found[:, NUM_FEATURES:].sum()) if has_probabilities else 1.0
        if abs(total - 1) > 1e-3:
            raise ValueError(
                f"Inception: the probabilities of {weights.path} must sum to 1, got {total:g}"
            )

    def train(self, mode: bool = True) -> "Inception":
        """Stays in eval mode.

        Args:
            mode: not used.

        Returns:
            The network itself.
        """
        return super().train(False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        x = to_uint8(x).expand(-1, 3, -1, -1).contiguous()
        if not self._is_script:
            features, *logits = self.net(x)
            return torch.cat([features, *(part.softmax(1) for part in logits)], 1).float()
        columns = [self.net(x, return_features=True)]
        if self.has_probabilities:
            columns.append(self.net(x, no_output_bias=True))
        return torch.cat(columns, 1).float()


def _load_script(weights: Weights) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*torch.jit", category=DeprecationWarning)
            warnings.filterwarnings("ignore", ".*torch.jit", category=FutureWarning)
            return torch.jit.load(str(weights.path), map_location="cpu")
    except RuntimeError as error:
        raise ValueError(
            f"Inception: {weights.path} is not a whole TorchScript file: {error}"
        ) from error


def _load_fidelity(weights: Weights, parts: list[str]) -> nn.Module:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except (ImportError, RuntimeError) as error:  # torchvision for another torch: RuntimeError
        raise ImportError(f"Inception: torch-fidelity cannot be imported: {error}") from error
    return FeatureExtractorInceptionV3(
        "inception-v3-compat", parts, feature_extractor_weights_path=str(weights.path)
    )
