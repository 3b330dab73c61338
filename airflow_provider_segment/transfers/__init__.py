"""Tasks that move the rows of a query to Segment."""
