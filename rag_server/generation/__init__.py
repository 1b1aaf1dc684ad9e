"""From a question to a cited answer; `pipeline.py` shows the way."""
