"""Networks with random weights: what they cost on the accelerator, and that it computes them exactly."""
