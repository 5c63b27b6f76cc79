"""Plasticity injection as a detector: paired continuations of a run, with and without new head parameters."""
