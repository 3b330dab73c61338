"""A row becomes a message: columns to fields, values to JSON, Segment's rules, message ids, bytes."""
