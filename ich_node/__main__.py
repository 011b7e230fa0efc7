"""`python -m ich_node` is `ich-node`."""

from ich_node.cli import main

main()
