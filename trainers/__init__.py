"""Training: one file per algorithm, its mitigations, and runs that resume."""
