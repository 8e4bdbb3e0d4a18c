"""Steering a trained generator: interpolation, style mixing, videos."""

from fastgan.control.interpolation import interpolate
from fastgan.control.keyframes import video_frames
from fastgan.control.latent_files import load_ws, save_ws
from fastgan.control.steerable import SteerableGenerator
from fastgan.control.styles import mix, parse_layers, replace_layers

__all__ = [
    "SteerableGenerator",
    "interpolate",
    "load_ws",
    "mix",
    "parse_layers",
    "replace_layers",
    "save_ws",
    "video_frames",
]
