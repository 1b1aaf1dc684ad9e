"""Parsing in subprocesses that can be killed: hostile content takes a parser down, never the worker.

`pool.ParserPool` is the way in. The child imports `child`, `confine`, `frames`, `codec` and `failures` only,
so nothing is imported here.
"""
