# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: a run continues bit for bit, and a crash loses no older one.

checkpoint    save, load, latest and load_generator
contents      all that a checkpoint holds, copied to host memory or written back
file          the two files of a checkpoint, with their hashes
saver         writes in the background
background    one thread at a time
retention     which checkpoints are kept
changes       how a resumed run differs from the saved one
networks      fastgan.load: the networks of a run, with what is known of it
other_kinds   what a path without a checkpoint holds
transfer      a new run from the weights of another
random_state  the global random generators
"""
