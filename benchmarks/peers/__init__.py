"""Other ways from a database to Segment, measured live: their speed, and what becomes of rows under faults."""
