"""Conformance suites and stand-ins that adapters and their users are tested with."""
