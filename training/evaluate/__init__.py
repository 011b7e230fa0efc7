"""How well a bundle does: on simulated heads that it never saw, and on real slices."""
