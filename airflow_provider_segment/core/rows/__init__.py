"""A row as it comes: pages from a source, their columns, and the keys that tell rows apart."""
