"""The page "Segment syncs": an application of its own within Airflow's API server, which only reads."""
