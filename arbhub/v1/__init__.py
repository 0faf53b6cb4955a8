"""Stubs generated from proto/arbhub/v1; `make proto` makes them anew."""
