"""Caps: how many calls a run may make; they are known to hold before the first call leaves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from airflow_provider_segment.core.errors import CapError, SegmentError
from airflow_provider_segment.core.options import Options, most

_ONCE = (
    "If this is meant, raise the cap for one run (docs/costs.md says how); otherwise mend the query or the mapping. "
    "The next run plans anew"
)


@dataclass(frozen=True)
class Cap:
    """One number, and what it may be at most.

    :param setting: the name of the cap.
    :param what: it counts, such as "identify: updated".
    :param found: calls that are due.
    :param most: calls that are allowed.
    :param share: of which keys the cap is a share, for the reader; empty for a count.
    """

    setting: str
    what: str
    found: int
    most: int
    share: str = ""

    @property
    def is_broken(self) -> bool:
        """Whether more are due than are allowed."""
        return self.found > self.most

    def __str__(self) -> str:
        verdict = "too many" if self.is_broken else "kept"
        return f"{self.what} {self.found:,}; {self.setting} allows {self.most:,}{self.share}: {verdict}"


class Caps:
    """The caps of one run.

    :param options: of the sync.
    :param known: how many keys of each call were known when the run began, with "changes".
    """

    def __init__(self, options: Options, known: Mapping[str, int]) -> None:
        self._most = options.max_calls
        self._shares = {"added": options.max_added, "updated": options.max_updated}
        self._known = known

    @property
    def are_set(self) -> bool:
        """Whether there are any."""
        return self._most is not None or any(cap is not None for cap in self._shares.values())

    def hold_for(self, rows: int, deleted: int) -> bool:
        """Tell whether they hold whatever the rows turn out to be.

        :param rows: at most so many make calls, each of them every call.
        :param deleted: at most so many calls are made of keys that are gone.
        """
        each = {call: {"added": rows, "updated": rows} for call in self._known}
        return not any(cap.is_broken for cap in self._of(each, rows * len(self._known) + deleted))

    def broken(self, planned: Mapping[str, Mapping[str, int]]) -> bool:
        """Tell whether one is broken.

        :param planned: the calls that are due, by call and kind, as Report has them.
        """
        return any(cap.is_broken for cap in self._of(planned, _total(planned)))

    def check(self, planned: Mapping[str, Mapping[str, int]], other: SegmentError | None = None) -> None:
        """Say so when one is broken, with all numbers beside their caps.

        :param planned: as for broken().
        :param other: what was found wrong besides: it is raised where no cap is broken.
        :raises CapError: if one is broken.
        """
        found = list(self._of(planned, _total(planned)))
        if any(cap.is_broken for cap in found):
            lines = "\n  ".join([*map(str, found), *([] if other is None else [str(other)])])
            raise CapError(f"Nothing was sent, since a cap is broken:\n  {lines}\n{_ONCE}")
        if other is not None:
            raise other

    def _of(self, planned: Mapping[str, Mapping[str, int]], total: int) -> Iterator[Cap]:
        shares = {kind: cap for kind, cap in self._shares.items() if cap is not None}
        for call, kinds in planned.items():
            for kind, cap in shares.items():
                known = self._known[call]
                keys = f"{known:,} keys that are known" if known else "no key, since none is known so far"
                share = "" if isinstance(cap, int) else f" ({cap:g} of {keys})"
                yield Cap(f"max_{kind}", f"{call}: {kind}", kinds[kind], most(cap, known), share)
        if self._most is not None:
            yield Cap("max_calls", "all calls:", total, self._most)


def _total(planned: Mapping[str, Mapping[str, int]]) -> int:
    return sum(sum(kinds.values()) for kinds in planned.values())
