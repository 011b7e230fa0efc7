"""Bad input in quantity: `python -m tests.soak` (or `make soak`) sends and reads it for a while."""
