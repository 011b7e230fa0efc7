"""Real head CT with labels: five public data sets, read in the layouts they are published in.

No data come with the project; each set's terms are in `training/README.md`.
"""
