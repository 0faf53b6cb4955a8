"""The kernel every service shares: columns, reference data, limits, settings, the link and the service shell.

It imports no service. `arbhub.cli` is the composition root and the one exception.
"""
