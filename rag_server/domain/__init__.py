"""The nouns of the service: plain frozen dataclasses, no I/O, no framework.

Everything that crosses a stage boundary is one of these. They import nothing
of the project but each other, so any module may import them.
"""
