"""Tasks that wait for what Segment does."""
