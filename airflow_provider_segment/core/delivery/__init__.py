"""Bytes become acknowledged: batches, tries, pace, tokens, and the calls that were refused."""
