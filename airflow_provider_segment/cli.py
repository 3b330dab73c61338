"""The command line: `airflow segment ...` on Airflow 3.3, `python -m airflow_provider_segment ...` on each version."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from airflow_provider_segment.core.report import ENDS

if TYPE_CHECKING:
    from airflow_provider_segment.hooks.segment import SegmentHook

    Rows = list[dict[str, Any]]

# Of argparse, each with its flags.
Arguments: TypeAlias = "Sequence[tuple[tuple[str, ...], dict[str, Any]]]"

_SYNC = (("sync_id",), {"help": "the sync's id; its default is <dag_id>.<task_id>, of a group <dag_id>.<group_id>"})
_KEYS = {"metavar": "KEY", "help": "the value of the key column; of several columns a JSON list, such as '[1, \"eu\"]'"}
_WHERE: Arguments = (
    (("--state-conn-id",), {"help": "the connection where the state is ..."}),
    (("--state-schema",), {"help": "... and its schema ..."}),
    (("--state-path",), {"help": "... or the SQLite file"}),
)
_OUTPUT = (
    ("-o", "--output"),
    {"choices": ("table", "json", "yaml", "plain"), "default": "table", "help": "default: %(default)s"},
)
_YES = (("-y", "--yes"), {"action": "store_true", "help": "do it"})


@dataclass(frozen=True)
class Command:
    """One command.

    :param name: of it.
    :param help: in one line.
    :param run: does it, and returns what is printed.
    :param arguments: of it.
    :param is_of_state: whether it is about a sync's state.
    """

    name: str
    help: str
    run: Callable[[SegmentHook, argparse.Namespace, dict[str, Any]], Rows]
    arguments: Arguments = ()
    is_of_state: bool = True

    @property
    def all_arguments(self) -> Arguments:
        """Its arguments, and those that others have, too."""
        return [_SYNC, *self.arguments, *_WHERE, _OUTPUT] if self.is_of_state else [*self.arguments, _OUTPUT]

    def __call__(self, options: argparse.Namespace) -> None:
        """Run it, and print what it finds.

        :param options: as argparse has read them.
        """
        from airflow.cli.simple_table import AirflowConsole

        from airflow_provider_segment.core.errors import SegmentError
        from airflow_provider_segment.hooks.segment import SegmentHook
        from airflow_provider_segment.hooks.task import SegmentFailException

        where = {name: getattr(options, name, None) for name in ("state_conn_id", "state_schema", "state_path")}
        hook = SegmentHook(getattr(options, "segment_conn_id", SegmentHook.default_conn_name))
        try:
            rows = self.run(hook, options, where)
        except (SegmentError, SegmentFailException) as error:
            sys.exit(str(error))
        if options.output == "json":  # Airflow's would make texts of the numbers
            sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        else:
            AirflowConsole().print_as(rows, output=options.output)


def _history(hook: SegmentHook, options: argparse.Namespace, where: dict[str, Any]) -> Rows:
    runs = hook.history(options.sync_id, last=options.last, **where)
    if options.output in ("json", "yaml"):
        return runs
    names = ("run", "state", "started", "seconds", "run_id", "rows", "skipped", "accepted", "invalid", "rejected")
    return [{name: run[name] for name in names} for run in runs]


def _plan(hook: SegmentHook, options: argparse.Namespace, where: dict[str, Any]) -> Rows:
    runs = hook.history(options.sync_id, last=1 if options.run is None else sys.maxsize, **where)
    found = [run for run in runs if options.run in (None, run["run"])]
    if not found:
        sys.exit(f"sync_id {options.sync_id!r} has no run {options.run} in its history")
    planned, ended = found[0]["planned"] or {}, found[0]["by_call"] or {}
    ends = [end for end in ENDS if any(counts[end] for counts in ended.values())]
    return [
        {"run": found[0]["run"], "call": call}
        | {f"planned {kind}": number for kind, number in kinds.items()}
        | {end: ended.get(call, {}).get(end, 0) for end in ends}
        for call, kinds in planned.items()
    ]


def _explain(hook: SegmentHook, options: argparse.Namespace, where: dict[str, Any]) -> Rows:
    return hook.explain(options.sync_id, _keys(options.keys), **where)


def _reset(hook: SegmentHook, options: argparse.Namespace, where: dict[str, Any]) -> Rows:
    chosen = [bool(options.keys), options.run is not None, options.refused, options.sql is not None, options.all]
    if sum(chosen) != 1:
        sys.exit("Expected one of these: some keys, --run, --refused, --sql, --all")
    what = {"run": options.run, "refused": options.refused, "sql": options.sql, "sql_conn_id": options.sql_conn_id}
    what |= {"keys": _keys(options.keys) if options.keys else None, "validate_only": not options.yes}
    number = hook.reset(options.sync_id, **what, **where)
    if options.yes:
        return [{"due_again": number}]
    return [{"would_be_due_again": number, "under": _ids(options), "to_do_it": "add --yes"}]


def _ids(options: argparse.Namespace) -> str:
    return "new message ids, as if nothing were known" if options.all else "the next message ids of their keys"


def _rename(hook: SegmentHook, options: argparse.Namespace, where: dict[str, Any]) -> Rows:
    if options.yes:
        hook.rename(options.sync_id, options.new_id, **where)
    else:
        hook.history(options.sync_id, last=1, **where)  # says where there is no such sync
    done = {} if options.yes else {"to_do_it": "add --yes"}
    return [{"sync_id": options.sync_id, "new_id": options.new_id} | done]


def _resend(hook: SegmentHook, options: argparse.Namespace, _: dict[str, Any]) -> Rows:
    report = hook.resend(options.path, new_ids=options.new_ids)
    return [{"calls": report.calls, "accepted": report.accepted, "requests": report.requests}]


def _release(hook: SegmentHook, options: argparse.Namespace, where: dict[str, Any]) -> Rows:
    return [{"was_held_by": hook.release(options.sync_id, **where) or "nobody"}]


def _keys(given: Sequence[str]) -> list[Any]:
    """Return keys as their values; a text stays one: a state finds the number by it."""
    return [json.loads(key) if key.startswith("[") else key for key in given]


COMMANDS = [
    Command(
        "history",
        "The last runs of a sync, the newest first",
        _history,
        [(("--last",), {"type": int, "default": 20, "help": "runs at most; default: %(default)s"})],
    ),
    Command(
        "plan",
        "What a run was to send, by call and kind of change, and how its calls ended",
        _plan,
        [(("--run",), {"type": int, "help": "its number; default: the last one"})],
    ),
    Command(
        "explain",
        "What is known of keys: accepted, refused and why, on its way, gone, never seen",
        _explain,
        [(("keys",), _KEYS | {"nargs": "+"})],
    ),
    Command(
        "reset",
        "Make keys due again, or forget all that is known; says first what it would do",
        _reset,
        [
            (("keys",), _KEYS | {"nargs": "*"}),
            (("--run",), {"type": int, "help": "what this run had accepted, and what has not changed since"}),
            (("--refused",), {"action": "store_true", "help": "all calls of keys of which one was refused"}),
            (("--sql",), {"help": "a query for the keys: its columns are those of the key ..."}),
            (("--sql-conn-id",), {"help": "... and the connection to run it on"}),
            (("--all",), {"action": "store_true", "help": "forget all that is known of the sync"}),
            _YES,
        ],
    ),
    Command(
        "rename",
        "Give a sync another id, after its DAG or task was renamed; nothing is sent again for it",
        _rename,
        [(("new_id",), {"help": "the id that it has from now on"}), _YES],
    ),
    Command(
        "resend",
        "Send the calls again that Segment refused, from a file of rejects (with sync_mode='all')",
        _resend,
        [
            (("path",), {"help": "the file, as rejects_path named it"}),
            (
                ("--new-ids",),
                {"action": "store_true", "help": "under new message ids, which are no repeats to Segment"},
            ),
            (("--segment-conn-id",), {"default": "segment_default", "help": "the source; default: %(default)s"}),
        ],
        is_of_state=False,
    ),
    Command("release", "Free a state that is held for tasks which will never go on", _release),
]


def get_segment_cli_commands() -> list[Any]:
    """Return the commands in Airflow's form."""
    from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand

    arg: Any = Arg
    actions = []
    for command in COMMANDS:
        arguments = [arg(flags, **options) for flags, options in command.all_arguments]
        actions.append(ActionCommand(command.name, command.help, command, arguments))
    return [GroupCommand("segment", "Look after syncs to Segment", actions)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command.

    :param arguments: default: those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m airflow_provider_segment", description="Look after syncs.")
    parsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        one = parsers.add_parser(command.name, help=command.help, description=command.help)
        for flags, of_argument in command.all_arguments:
            one.add_argument(*flags, **of_argument)
        one.set_defaults(command=command)
    options = parser.parse_args(arguments)
    options.command(options)
