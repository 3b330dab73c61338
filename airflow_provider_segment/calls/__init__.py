"""What a DAG author imports: the six calls of Segment, said over the columns of a query.

One rule: a string names a column, ``Constant(x)`` is x itself, ``Json("column")`` is the parsed content of a column
that holds JSON text, ``Bool("column")`` the truth value of one that holds it as 0 and 1 or as a word. Every call can
also be written as a plain dict, for YAML users and for Airflow's rendering:
``{"call": "track", "event": {"constant": "Signed Up"}, "user_id": "id"}``.
"""

from airflow_provider_segment.calls.columns import check_changes as check_changes
from airflow_provider_segment.calls.columns import columns_of as columns_of
from airflow_provider_segment.calls.columns import named_columns as named_columns
from airflow_provider_segment.calls.fields import RENAMES as RENAMES
from airflow_provider_segment.calls.fields import AllColumns
from airflow_provider_segment.calls.fields import Fields as Fields
from airflow_provider_segment.calls.fields import Tree as Tree
from airflow_provider_segment.calls.plain_data import TYPES as TYPES
from airflow_provider_segment.calls.plain_data import as_calls as as_calls
from airflow_provider_segment.calls.settings import CHANGE_KINDS as CHANGE_KINDS
from airflow_provider_segment.calls.sources import Bool, Constant, Json
from airflow_provider_segment.calls.sources import Source as Source
from airflow_provider_segment.calls.spec import IDS as IDS
from airflow_provider_segment.calls.spec import OBJECTS as OBJECTS
from airflow_provider_segment.calls.spec import SCALARS as SCALARS
from airflow_provider_segment.calls.spec import Alias, Group, Identify, Page, Screen, Track
from airflow_provider_segment.calls.spec import Call as Call

__all__ = ["Alias", "AllColumns", "Bool", "Constant", "Group", "Identify", "Json", "Page", "Screen", "Track"]
