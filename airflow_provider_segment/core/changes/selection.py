"""Which entries of a state are meant: those of some keys, of a run, or of what was refused; otherwise all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from airflow_provider_segment.core.changes.tables import GONE, Tables

# Keys a statement.
AT_ONCE = 500


class Selection(NamedTuple):
    """What is meant; at most one of the three is given.

    :param keys: the numbers of keys.
    :param run: the number of a run: the calls that it had accepted, and that no later run has looked at with a change.
    :param refused: the keys of which a call was refused when it was looked at last.
    """

    keys: Sequence[int] | None = None
    run: int | None = None
    refused: bool = False

    def conditions(self, tables: Tables, sync_no: int) -> Iterator[sa.sql.elements.ColumnElement[bool]]:
        """Yield conditions for statements on ``segment_state``, each for other entries.

        :param tables: of the states.
        :param sync_no: the sync's number.
        """
        state, call, refusal = tables.state.c, tables.call.c, tables.refusal.c
        mine = sa.select(call.call_no).where(call.sync_no == sync_no)
        every = sa.and_(state.call_no.in_(mine), is_there(tables))
        if self.run is not None:
            yield sa.and_(every, state.run == self.run, state.sent > 0)
        elif self.refused:
            refused = sa.select(refusal.row_key).where(refusal.call_no.in_(mine))
            yield sa.and_(every, state.row_key.in_(refused))
        elif self.keys is None:
            yield every
        else:
            for at in range(0, len(self.keys), AT_ONCE):
                yield sa.and_(every, state.row_key.in_(self.keys[at : at + AT_ONCE]))


def is_there(tables: Tables) -> sa.sql.elements.ColumnElement[bool]:
    """Return whether a key is known and not gone, or may not be gone.

    :param tables: of the states.
    """
    state: Any = tables.state.c
    return sa.or_(state.content != GONE, state.doubt != 0)
