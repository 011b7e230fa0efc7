"""Simulated head CT with bleeds whose every voxel is known."""

from training.simulate.head import SimulatedHead, simulate_head

__all__ = ["SimulatedHead", "simulate_head"]
