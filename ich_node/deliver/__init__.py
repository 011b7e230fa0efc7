"""Deliver: C-STORE to a destination, with a verdict for every object."""
