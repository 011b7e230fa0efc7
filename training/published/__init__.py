"""SMART-Net as its authors published it, and checkpoints in the layouts of their code."""
