"""Airflow's door to Segment."""
