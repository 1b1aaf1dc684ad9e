"""From a question to ranked passages; `pipeline.py` shows the way, each file beside it is a stage."""
