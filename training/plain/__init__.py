"""Simulated head CT: volumes with voxel-true bleeds, and their DICOM series.

This first simulator draws heads from formulas alone; it needs no data.
"""

from training.plain.head import SimulatedHead, simulate_head

__all__ = ["SimulatedHead", "simulate_head"]
