"""Simulate, train, evaluate and export the models that the node runs."""
