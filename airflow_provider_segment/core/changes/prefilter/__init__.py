"""Rows that were settled before are passed over: nobody maps them, and nobody asks the state."""
