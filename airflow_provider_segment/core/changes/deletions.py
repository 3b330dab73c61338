"""Whether so many of the known keys may be gone from a query's result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from airflow_provider_segment.core.changes.entries import Base
from airflow_provider_segment.core.errors import DeletionError
from airflow_provider_segment.core.options import most


def check_gone(
    identity: str, gone: Counter[int], bases: Sequence[Base], allowed: float, nothing: str = "deleted"
) -> None:
    """Refuse to delete more of the keys that were known before than is allowed.

    Before means: when this run began, and when each one began since which none has ended whole. Otherwise a run that
    saved new keys and was killed would make room for the next one to delete all old ones.

    :param identity: of the call.
    :param gone: the number of its keys that are gone, by the run that wrote them last.
    :param bases: how many keys were known, and when; the last is this run's.
    :param allowed: a count; or a share, where it is a float.
    :param nothing: what was done of it: "deleted", or where all is held "sent".
    :raises DeletionError: if more are gone.
    """
    *earlier, now = bases
    if own := gone[now.run]:
        raise DeletionError(
            f"{identity}: {own:,} keys that this very run has sent seem to be gone, which cannot be. Nothing was "
            f"{nothing}; please report this with the log"
        )
    for base in (now, *earlier):
        # Those of its keys that are gone now, and at least as many as runs in between have deleted.
        lost = sum(n for run, n in gone.items() if run < base.run) + max(0, base.known - now.known)
        if lost > most(allowed, base.known):
            before = "" if base is now else f" of before run {base.run}, since which no run has ended whole,"
            share = "" if isinstance(allowed, int) else "a share of "
            raise DeletionError(
                f"{identity}: {lost:,} of {base.known:,} known keys{before} are gone from the result; max_deleted "
                f"allows {share}{allowed:n}. Nothing was {nothing}; mend the query or raise it"
            )
