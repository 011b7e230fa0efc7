"""The classes the network knows and every coded concept the node writes: one table."""

from __future__ import annotations

# A mask holds 0 for no bleed and 1 + the index into SUBTYPES for a bleed.
SUBTYPES = (
    "epidural",
    "subdural",
    "subarachnoid",
    "intraparenchymal",
    "intraventricular",
)
CLASSES = ("any", *SUBTYPES)
