"""A small Config of every image architecture, at 16 × 16, conditional or not."""

from fastgan.models import load_architecture

FIELDS = {
    "mlp": {"z_dim": 5, "g_hidden": (8,), "d_hidden": (8,)},
    "dcgan": {"z_dim": 5, "g_channels": 4, "d_channels": 4, "d_norm": "none"},
    "light_skip_gan": {},
    "stylegan2": {"z_dim": 5, "w_dim": 6, "channel_base": 64, "channel_max": 8,
                  "mapping_layers": 2, "d_mapping_layers": 1},
    "stylegan3": {"z_dim": 5, "w_dim": 6, "channel_base": 64, "channel_max": 6, "num_layers": 6,
                  "margin_size": 3, "d_channel_base": 64, "d_channel_max": 8,
                  "d_mapping_layers": 1},
    "rosinality": {"z_dim": 5, "n_mlp": 2, "channel_max": 6},
    "r3gan": {"z_dim": 5, "widths": (8, 8, 4), "blocks": (1, 1, 1), "groups": (2, 2, 2)},
}  # fmt: skip

UNCONDITIONAL = {"rosinality"}
KINDS = [
    (name, c_dim) for name in FIELDS for c_dim in (0, 3) if c_dim == 0 or name not in UNCONDITIONAL
]


def small(name, c_dim=0):
    """(module, config)."""
    module = load_architecture(name)
    size = {"img_channels": 3, "img_height": 16, "img_width": 16}
    return module, module.Config(c_dim=c_dim, **size, **FIELDS[name])
