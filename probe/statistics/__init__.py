"""Per-layer statistics: what one forward pass leaves behind, and all that the activation probes read."""
