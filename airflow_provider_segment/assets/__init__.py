"""Segment sources as Airflow assets."""
