"""`python -m airflow_provider_segment`: the command line, on each version of Airflow."""

from airflow_provider_segment.cli import main

if __name__ == "__main__":
    main()
