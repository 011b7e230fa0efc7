"""A demonstration of the whole node on one machine."""
