"""The fault campaign: random kills on real QEMUs, and the invariants after each round."""
