"""What is said, or refused, before a first run sends all that the query returns: perhaps its state was lost."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_segment.core.changes.dry_state import DryState
from airflow_provider_segment.core.changes.state import State
from airflow_provider_segment.core.errors import SettingError

_FILE = (
    "it is not the file of then: it must lie on a disk that outlives the task and that every worker sees, or the state "
    "be in a database (state_conn_id)"
)
_DATABASE = "its sync_id, its connection or its schema is another than then"


def check_first_run(state: State | DryState, first_run: str, identities: Sequence[str]) -> None:
    """Say that calls are seen for the first time, or refuse it.

    :param state: of the sync.
    :param first_run: "send", "baseline" or "fail".
    :param identities: of the calls that no run which went to its end has seen.
    :raises SettingError: if there are such calls, and ``first_run`` is "fail".
    """
    if not identities:
        return
    lost = f"If this sync has run before and was not reset, {_FILE if state.is_file else _DATABASE}"
    what = "is new" if state.is_new else f"has seen no whole run of {', '.join(identities)}"
    found = f"sync_id {state.sync_id!r}: its state in {state.place} {what}"
    if first_run == "fail":
        raise SettingError(
            f"first_run='fail': {found}, so that all rows would be sent as in a first run. {lost}. Nothing was sent. "
            "To allow it once, run with first_run='send' (sends all) or 'baseline' (sends nothing) until a run has "
            "succeeded; then set 'fail' again"
        )
    means = "all rows are remembered, and none is sent" if first_run == "baseline" else "all rows are sent"
    if state.is_new:
        state.log.warning("%s: %s, as in a first run. %s. first_run='fail' refuses such a run", found, means, lost)
    else:
        state.log.info("%s: %s of it, but for those that an earlier try has saved", found, means)
