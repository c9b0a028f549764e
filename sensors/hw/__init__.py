"""The narrow seam to hardware: a Protocol, the real one and the fake, side by side."""
