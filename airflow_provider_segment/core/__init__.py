"""What knows rows and Segment, and must not know Airflow."""
