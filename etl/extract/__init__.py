"""Fetching listings over HTTP."""
