"""Conversions between the contract's messages and the domain, one noun per file. No logic."""
