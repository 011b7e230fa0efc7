"""What runs and shows the node: demonstration, bench, service files."""
