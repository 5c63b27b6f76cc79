"""The probes, one a file; `base` holds the contract and the registry."""
