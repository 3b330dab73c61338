"""Sends users with dlt: the table as a source, Segment as a custom destination; runs in dlt's environment."""

from __future__ import annotations

import os
from hashlib import md5
from typing import Any

from worker import begin

WRITE_KEY = "k" * 32


def run(
    warehouse: dict[str, Any],
    url: str,
    sql: str,
    home: str,
    table: str,
    source: dict[str, Any],
    destination: dict[str, Any],
    file_rows: int | None,
) -> dict[str, int]:
    """Run a pipeline, which resumes what it finds unfinished.

    :param home: of the pipeline and its state.
    :param table: that the query reads.
    :param source: of the source, such as its backend.
    :param destination: of the decorator, such as the size of a batch.
    :param file_rows: the rows of a file, which is what is loaded in parallel; default all.
    """
    os.environ |= {"HOME": home, "RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "CRITICAL"}
    if file_rows:
        os.environ["DATA_WRITER__FILE_MAX_ITEMS"] = os.environ["DATA_WRITER__BUFFER_MAX_ITEMS"] = str(file_rows)

    import dlt  # type: ignore[import-not-found]
    import sqlalchemy
    from dlt.common import json  # type: ignore[import-not-found]
    from dlt.sources.helpers import requests  # type: ignore[import-not-found]
    from dlt.sources.sql_database import sql_table  # type: ignore[import-not-found]

    counts = {"rows": 0, "sent": 0}

    @dlt.destination(name="segment", **destination)
    def segment(items: Any, table: Any) -> None:
        rows = items if isinstance(items, list) else items.to_pylist()
        messages = []
        for row in rows:
            traits = {name: value for name, value in row.items() if name != "id"}
            traits |= {"lifetime_value": float(traits["lifetime_value"])} if "lifetime_value" in traits else {}
            message = {"type": "identify", "userId": str(row["id"]), "traits": traits}
            message["messageId"] = md5(json.dumpb(message)).hexdigest()  # noqa: S324 - an id, no secret
            messages.append(message)
        headers = {"Content-Type": "application/json"}
        body = json.dumpb({"batch": messages})
        requests.post(f"{url}/v1/batch", data=body, headers=headers, auth=(WRITE_KEY, "")).raise_for_status()
        counts["sent"] += len(rows)

    address = sqlalchemy.URL.create(
        "postgresql+psycopg2",
        username=warehouse["login"],
        port=warehouse["port"],
        database=warehouse["schema"],
        query={"host": warehouse["host"]},
    )
    engine = sqlalchemy.create_engine(address, execution_options={"stream_results": True})
    users = sql_table(engine, table=table, query_adapter_callback=lambda *_: sqlalchemy.text(sql), **source)
    dlt.pipeline("users", destination=segment, pipelines_dir=home).run(users)
    return {"rows": counts["sent"], "sent": counts["sent"]}


if __name__ == "__main__":
    begin(run)
