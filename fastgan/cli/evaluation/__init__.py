# SPDX-License-Identifier: Apache-2.0
"""What `fastgan evaluate` does.

names      which metrics were asked for, and whether they can be computed here
settings   with which truncation and labels samples are generated
inputs     the data set and a stream of generated samples
pictures   the spectrum and the sheet of nearest images
"""
