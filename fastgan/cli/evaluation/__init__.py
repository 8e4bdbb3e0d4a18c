"""What `fastgan evaluate` does.

names      which metrics were asked for, and whether they can be computed here
inputs     the data set and a stream of generated samples
"""
