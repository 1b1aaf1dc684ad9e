"""Fusion: one score per candidate from the scores that the two legs gave it. One algorithm per file."""
