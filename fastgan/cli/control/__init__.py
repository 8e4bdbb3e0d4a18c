# SPDX-License-Identifier: Apache-2.0
"""The commands that steer a trained generator of images, and what they share."""
