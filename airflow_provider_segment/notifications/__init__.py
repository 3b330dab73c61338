"""Calls about DAGs and tasks themselves."""
