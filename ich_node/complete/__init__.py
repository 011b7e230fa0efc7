"""Is a series all here, and is it one to read: decided from facts, without any I/O."""
