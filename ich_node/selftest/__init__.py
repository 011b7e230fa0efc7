"""The self-test: a simulated bleed through a node's real port to a real SCP and back."""
