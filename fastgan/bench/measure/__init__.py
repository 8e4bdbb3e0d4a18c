"""Checks each variant of a case, then measures it: time, live memory, page faults."""
