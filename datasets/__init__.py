"""Environments, and the collection of observation sets from them."""
