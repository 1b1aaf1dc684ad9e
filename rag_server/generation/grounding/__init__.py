"""Judges texts by passages: hard facts, evidence, calibration, verdict."""
