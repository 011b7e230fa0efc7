"""Simulated head CT with bleeds whose every voxel is known."""

from training.simulate.head import NotDrawn, SimulatedHead, simulate_head, simulate_on

__all__ = ["NotDrawn", "SimulatedHead", "simulate_head", "simulate_on"]
