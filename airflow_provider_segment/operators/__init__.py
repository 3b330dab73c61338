"""Tasks that make single calls."""
