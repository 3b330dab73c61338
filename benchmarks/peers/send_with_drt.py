"""Sends users with drt, as the command `drt run` does, to Segment's REST API; runs in drt's environment."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from worker import begin

# The query shapes what the template writes: drt's own way to map columns.
QUERY = "SELECT id, md5(q::text) AS message_id, to_jsonb(q) - 'id' AS traits FROM ({sql}) AS q"
MESSAGE = '{"userId": "{{ row.id }}", "messageId": "{{ row.message_id }}", "traits": {{ row.traits | tojson_safe }}}'
BATCH = '{"batch": [{% for row in rows %}{"type": "identify", %s{{ "" if loop.last else "," }}{% endfor %}]}'
DESTINATIONS = {
    "row": {"path": "/v1/identify", "body_template": MESSAGE},
    "batch": {"path": "/v1/batch", "body_mode": "batch", "batch_template": BATCH.replace("%s", MESSAGE[1:])},
}


def run(
    warehouse: dict[str, Any],
    url: str,
    sql: str,
    home: str,
    a_request: str,
    sync: dict[str, Any],
    state: dict[str, Any],
) -> dict[str, int]:
    """Lay out a project and run its sync in this process, by the function behind the command.

    :param home: of the project, of drt's profiles and of its state.
    :param a_request: what it holds: a "row" or a "batch".
    :param sync: the sync's own settings.
    :param state: where the project remembers.
    :raises SystemExit: if drt's exit code is not 0.
    """
    project, profiles = Path(home) / "project", Path(home) / ".drt"
    (project / "syncs").mkdir(parents=True, exist_ok=True)
    profiles.mkdir(exist_ok=True)
    database = {"host": warehouse["host"], "port": warehouse["port"], "dbname": warehouse["schema"]}
    # The schema of what drt remembers: a new folder is a new project.
    schema = "drt_" + "".join(letter for letter in Path(home).name.lower() if letter.isalnum())
    profile = {"type": "postgres", **database, "user": warehouse["login"], "password": "", "managed_schema": schema}
    destination = {"type": "rest_api", "headers": {"Content-Type": "application/json"}, **DESTINATIONS[a_request]}
    destination["url"] = url + str(destination.pop("path"))
    destination["auth"] = {"type": "basic", "username_env": "WRITE_KEY", "password_env": "PASSWORD"}
    users = {"name": "users", "model": QUERY.format(sql=sql), "destination": destination, "sync": sync}
    write(profiles / "profiles.yml", {"warehouse": profile})
    write(project / "drt_project.yml", {"name": "users", "profile": "warehouse", "state": state})
    write(project / "syncs" / "users.yml", users)
    os.environ |= {"HOME": home, "DO_NOT_TRACK": "1", "WRITE_KEY": "k" * 32, "PASSWORD": "-"}
    os.chdir(project)

    from drt.cli.main import app  # type: ignore[import-not-found]

    try:
        app(["run", "--quiet"])
    except SystemExit as ended:
        if ended.code:
            raise
    (result,) = json.loads((project / "target" / "drt" / "run_results.json").read_text())["results"]
    return {"rows": result["rows_extracted"], "sent": result["rows_synced"]}


def write(path: Path, values: dict[str, Any]) -> None:
    """Write YAML, which JSON is."""
    path.write_text(json.dumps(values))


if __name__ == "__main__":
    begin(run)
