"""Segment's Public API, which knows sources and their write keys."""
