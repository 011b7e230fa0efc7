"""The table of contents: what happens to a series, stage by stage.

`analysis` reads a complete series and builds its objects, `delivery` brings them to each
destination, `outcome` says what came of it; `kept` keeps built objects; `engine` makes the first
two durable.
"""
