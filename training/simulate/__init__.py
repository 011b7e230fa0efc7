"""Simulated head CT with bleeds whose every voxel is known."""

from training.simulate.head import SimulatedHead, simulate_head, simulate_on

__all__ = ["SimulatedHead", "simulate_head", "simulate_on"]
