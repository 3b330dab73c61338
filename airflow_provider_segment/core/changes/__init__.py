"""What is due: the comparison with what Segment last accepted, and the state that remembers it."""
