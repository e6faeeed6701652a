"""Rotations and kinematic chains: pure functions on tensors of any batch shape, or on planes of numpy."""
