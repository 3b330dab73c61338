"""One run of SqlToSegmentTaskGroup, as each of its tasks does its part of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_segment.calls import as_calls
from airflow_provider_segment.core.accounting import check_refused
from airflow_provider_segment.core.changes.shared_run import SharedRun
from airflow_provider_segment.core.errors import SegmentError, SettingError, UnfinishedError
from airflow_provider_segment.core.report import Report
from airflow_provider_segment.core.report_sum import summed
from airflow_provider_segment.core.rows.pages import Pages
from airflow_provider_segment.core.stages import Stage
from airflow_provider_segment.hooks import sigterm
from airflow_provider_segment.hooks.lineage import note_events
from airflow_provider_segment.hooks.rendered import yes_or_no
from airflow_provider_segment.hooks.run_part import RunPart
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.hooks.task import TaskRun
from airflow_provider_segment.transfers.query import open_query
from airflow_provider_segment.transfers.repeated_query import warn_if_repeated
from airflow_provider_segment.transfers.statements import check_only_reads
from airflow_provider_segment.transfers.warehouse_shards import PlanTables, Shard, SharedTables, in_shards, whole

if TYPE_CHECKING:
    from airflow_provider_segment.compat import Context
    from airflow_provider_segment.transfers.group_tasks import GroupTask

    Tables = TypeVar("Tables", PlanTables, SharedTables)

# The XCom of the plan.
PLAN = "plan"
# Only the whole run is judged, by the task that ends it; rows are written down by the tasks that send them; and the
# plan has seen to the caps.
_ANY = {"max_rejected": sys.maxsize}
_UNSEEN = {"rejects_path": None, "preview_path": None}
_NO_CAPS = {"max_calls": None, "max_added": None, "max_updated": None, "max_deleted": 1, "min_rows": 0}


class GroupRun:
    """A run of the group.

    :param task: of the group.
    :param hook: of the connection to Segment.
    :param task_run: the try of the task.
    :param context: of the task.
    """

    def __init__(self, task: GroupTask, hook: SegmentHook, task_run: TaskRun, context: Context) -> None:
        self._task, self._hook, self._task_run, self._context = task, hook, task_run, context
        self._log = task.log
        self._group_id = task_run.ids[1].rpartition(".")[0]
        self._sync_id = task.sync_id or f"{task_run.ids[0]}.{self._group_id}"
        self._is_all = task.options.sync_mode == "all"
        self._is_dry = yes_or_no("validate_only", task.validate_only)

    def plan(self, shards: int, rows_per_shard: int) -> list[dict[str, Any]]:
        """Lay out the rows, check caps and deletions, and return which rows each task sends.

        :param shards: tasks that send, at most.
        :param rows_per_shard: fewer of them where these are as many rows.
        """
        size = (shards, rows_per_shard)
        if self._is_dry:
            self._task_run.push("report", self._check_only().as_dict())
            return []
        with self._tables(PlanTables) as tables:
            plan = self._plan_all(tables, *size) if self._is_all else self._plan_changes(tables, *size)
        self._task_run.push(PLAN, plan)
        parts = plan["shards"]
        said = [f"{number:,}" for number in (plan["rows"], plan["skipped"], len(parts))]
        self._log.info("The plan: %s rows, of which %s are skipped; %s tasks send the others", *said)
        common = {name: plan[name] for name in ("run", "generation", "skipped")} | {"senders": len(parts)}
        return [common | dict(zip(Shard._fields, part, strict=True)) for part in parts]

    def _check_only(self) -> Report:
        """Read, validate and compare every row here, and send nothing."""
        if not self._is_all:
            return self._task.sync_here(self._hook, self._task_run, self._context, self._sync_id)
        task = self._task
        how: dict[str, Any] = {"hook_params": task.sql_hook_params, "fetch_size": task.fetch_size}
        with open_query(task.sql_conn_id, task.sql, task.parameters, **how) as rows:
            return self._sync(rows, None)

    def _plan_changes(self, tables: PlanTables, most: int, rows_per_shard: int) -> dict[str, Any]:
        """Return the plan of this run: a new one, or what an earlier try has made."""
        plan: dict[str, Any] = {}

        def keep(state: Any, report: Report) -> None:
            if state.plan is None:
                laid_out, shards = tables.laid_out, tables.shards(most, rows_per_shard)
                tables.keep()
                made = {
                    "run": state.run,
                    "generation": state.generation,
                    "started": int(time.time()),
                    "rows": report.rows,
                }
                made |= {"skipped": laid_out.skipped, "gone": laid_out.gone, "is_full": laid_out.is_full}
                state.keep_plan(made | {"shards": [list(shard) for shard in shards]})
            else:
                self._log.info("The plan of this run was made by an earlier try, and stands")
                tables.check_laid_out(state.generation, state.run)
                state.stay_held()
            plan.update(state.plan)

        part = RunPart(Stage.PLAN, self._shared(), is_done=lambda state: bool(state.plan), on_end=keep)
        self._sync(self._laid_out(tables), part, **_ANY, **_UNSEEN)
        return plan

    def _plan_all(self, tables: PlanTables, most: int, rows_per_shard: int) -> dict[str, Any]:
        """Lay out all rows of the query, once for all tries of the run."""
        warn_if_repeated(self._task, self._context)
        key = self._task.options.key_columns
        dag_id, _, run_id, _ = self._task_run.ids
        owner = f"{dag_id}.{self._group_id} {run_id}"
        name, histogram = tables.lay_out_all(owner, self._user_column, key)
        rows = tables.rows(name, whole(histogram))
        self._sync(rows, RunPart(Stage.PLAN, on_end=lambda *_: tables.keep()), **_ANY, **_UNSEEN)
        shards = in_shards(histogram, most, rows_per_shard)
        plan = {"run": name, "generation": None, "started": int(time.time()), "rows": rows.total, "skipped": 0}
        return plan | {"shards": [list(shard) for shard in shards]}

    @property
    def _user_column(self) -> str | None:
        """The first column that a call takes the user's id from: the rows of one user are sent by one task."""
        calls = (call for call in as_calls(self._task.calls) if call.enabled)
        columns = (getattr(call, "user_id", None) for call in calls)
        return next((column for column in columns if isinstance(column, str)), None)

    def send(self, shard: Mapping[str, Any]) -> dict[str, Any]:
        """Send a part of the rows, and return it with its report.

        :param shard: the part, as the plan returns it.
        """
        run, part = shard["run"], Shard(*(shard[name] for name in Shard._fields))
        with self._tables(SharedTables, {"skipped": shard["skipped"]}, part) as tables:
            if self._is_all:
                tables.own_all()
            rows = tables.rows(run, part) if self._is_all else self._laid_out(tables, part.rows)
            of_run = RunPart(Stage.SEND, self._shared(shard, part.first_bucket), shard["senders"])
            report = self._sync(rows, of_run, **_ANY, **_NO_CAPS)
        return {"run": run, **part._asdict(), "report": report.as_dict()}

    def finalize(self) -> dict[str, Any]:
        """End the run, and return its report."""
        plans = self._pulled("plan", "report" if self._is_dry else PLAN)
        if not plans:
            raise SettingError("The run has no plan. Clear the whole task group: its plan is made anew then")
        plan = plans[0]
        if self._is_dry:
            return dict(plan)
        results = [result for result in self._pulled("send") if result["run"] == plan["run"]]
        sent = {(result["first_bucket"], result["last_bucket"]): result["report"] for result in results}
        missing = [n for n, (first, last, _) in enumerate(plan["shards"]) if (first, last) not in sent]
        if missing:
            self._give_up(plan, missing, summed(list(sent.values()), time.time() - plan["started"]))
        reports = list(sent.values())
        with self._tables(SharedTables, plan, None) as tables:
            if self._is_all:
                tables.own_all()
            else:
                reports.append(self._end(tables, plan, reports).as_dict())
            tables.forget(plan["run"])
        total = self._hook.report = summed(reports, time.time() - plan["started"])
        self._log.info("The whole run: %s", total.summary())
        note_events(self._context, total)
        try:
            check_refused(total, self._task.options.max_rejected)
        except SegmentError:
            self._task_run.leave(total)
            raise
        return total.as_dict()

    def _end(self, tables: SharedTables, plan: Mapping[str, Any], sent: list[dict[str, Any]]) -> Report:
        """Make the calls of keys that are gone, now that all else is acknowledged, and leave the filter."""

        def end(state: Any, report: Report) -> None:
            state.write_down_whole(summed([*sent, report.as_dict()], time.time() - plan["started"]))
            state.end_plan()

        part = RunPart(Stage.FINALIZE, self._shared(plan), on_end=end)
        caps = _NO_CAPS | {"max_deleted": self._task.rendered()["max_deleted"]}
        return self._sync(self._laid_out(tables), part, **_ANY, **caps)

    def _give_up(self, plan: Mapping[str, Any], missing: list[int], total: Report) -> None:
        """Fail, and let the state go; the plan stands, for tasks that are cleared before another run begins."""
        others = "the next run has rows of its own" if self._is_all else "the next run sends what is missing, too"
        error = UnfinishedError(
            f"{len(missing)} of {len(plan['shards'])} tasks have not sent their part (map index "
            f"{', '.join(map(str, missing))}). What the others sent stands: {total.summary()}. Clear the tasks that "
            f"failed, and the run goes on where it was; {others}"
        )
        error.report = total
        self._task_run.leave(total)

        def fail(state: Any = None, *_: Any) -> None:
            if state is not None:
                state.write_down_whole(total)
            raise error

        if not self._is_all:
            part = RunPart(Stage.FINALIZE, self._shared(plan), is_done=lambda _: True, on_end=fail)
            self._sync(Pages(None, (), "nothing"), part, **_ANY, **_UNSEEN, **_NO_CAPS)
        fail()

    def _sync(self, rows: Pages, part: RunPart | None, **changed: Any) -> Report:
        options = self._task.rendered() | changed
        return self._hook.sync(
            rows, self._task.calls, sync_id=self._sync_id, part=part, context=self._context, **options
        )

    def _laid_out(self, tables: PlanTables, rows: int | None = None) -> Pages:
        return Pages(tables.columns, (), tables.source, rows, warehouse=tables)

    def _shared(self, plan: Mapping[str, Any] | None = None, part: int | None = None) -> SharedRun | None:
        """Return the task's place in a run with "changes", of its plan where it is made."""
        if self._is_all:
            return None
        run, generation = (None, None) if plan is None else (plan["run"], plan["generation"])
        times = (self._task.pickup_timeout, self._task.lease_timeout)
        return SharedRun(run, generation, part, *times, self._task_run.has_ended)

    @contextmanager
    def _tables(self, kind: Callable[..., Tables], *more: Any) -> Iterator[Tables]:
        """Lend the tables of the warehouse."""
        task = self._task
        check_only_reads(task.sql, "warehouse_schema")
        reading = {"hook_params": task.sql_hook_params, "fetch_size": task.fetch_size}
        query = (task.sql_conn_id, task.sql, task.parameters, task.warehouse_schema, self._sync_id)
        with sigterm.waits():
            tables = kind(*more, *query, self._task_run.label, reading)
        try:
            yield tables
        finally:
            tables.close()

    def _pulled(self, task: str, key: str = "return_value") -> list[Any]:
        """Return what a task of the group has left, of each map index."""
        pull = getattr(self._task_run.instance, "xcom_pull", None)
        found = () if pull is None else pull(task_ids=[f"{self._group_id}.{task}"], key=key)
        return [one for one in found or () if one is not None]
