# SPDX-License-Identifier: Apache-2.0
"""Steering a trained generator: interpolation, style mixing, projection, directions, edits."""

from fastgan.control.attributes import AVATAR_QUESTIONS, Question, read_attributes
from fastgan.control.directions import Directions, edit, factorize
from fastgan.control.interpolation import interpolate
from fastgan.control.keyframes import video_frames
from fastgan.control.latent_files import load_ws, save_ws
from fastgan.control.learnt_directions import learn_directions
from fastgan.control.projection import PerceptualDistance, Projection, nearest_of_samples, project
from fastgan.control.steerable import SteerableGenerator
from fastgan.control.styles import mix, parse_layers, replace_layers

__all__ = [
    "AVATAR_QUESTIONS",
    "Directions",
    "PerceptualDistance",
    "Projection",
    "Question",
    "SteerableGenerator",
    "edit",
    "factorize",
    "interpolate",
    "learn_directions",
    "load_ws",
    "mix",
    "nearest_of_samples",
    "parse_layers",
    "project",
    "read_attributes",
    "replace_layers",
    "save_ws",
    "video_frames",
]
