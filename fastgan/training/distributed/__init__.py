# SPDX-License-Identifier: Apache-2.0
"""Several processes, launched by torchrun, that train the same networks.

ranks       the ranks of a run: all_reduce, broadcast, barrier, comparison
exchange    averages gradients over the ranks, also in parts during a backward pass
machine     what the ranks of one machine share before they are connected
replica     connects a state to those of the other ranks
rendezvous  a part of torchrun's store for this start of the processes alone
watchdog    ends a run in which a rank does not arrive, and names it
"""
