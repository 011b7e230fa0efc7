"""From files to a checked volume in HU, or to the reason why there is none."""
