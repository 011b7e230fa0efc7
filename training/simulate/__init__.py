"""Simulated head CT: volumes with voxel-true bleeds, and their DICOM series."""
