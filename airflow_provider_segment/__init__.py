"""The rows of any SQL query become Segment calls, in batches, every one accounted for."""

from airflow_provider_segment.provider_info import get_provider_info

__all__ = ["__version__", "get_provider_info"]

__version__ = "0.1.0"
