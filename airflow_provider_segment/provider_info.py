"""What Airflow reads about this provider: the hook, the connection's form, the operators, links, assets ..."""

from __future__ import annotations

from typing import Any

_DOCS = "https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/"

# The form of Airflow 3.2 and later is made from these; the hook's class methods make the form of 2.11 to 3.1 of them.
UI_FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["login", "port", "schema"],
    "relabeling": {"password": "Write key", "host": "Endpoint (optional)"},
    "placeholders": {
        "password": "the source's write key, of 32 characters",
        "host": "https://events.example.com; empty means Segment's own",
    },
}

CONN_FIELDS: dict[str, Any] = {
    "region": {
        "label": "Region",
        "description": "Where the workspace is: us (Oregon; also when empty) or eu (Dublin). An endpoint gets all "
        "requests, but with a region the events only.",
        # No default: the form would save it, and an endpoint alone says more than an endpoint with a region.
        "schema": {"type": ["string", "null"], "enum": ["us", "eu"]},
    },
    "workspace_slug": {
        "label": "Workspace slug",
        "description": "For the button Segment Debugger on tasks: app.segment.com/<workspace slug>/sources/...",
        "schema": {"type": ["string", "null"]},
    },
    "source_slug": {
        "label": "Source slug",
        "description": "For the same button: .../sources/<source slug>/debugger; and the source's name in lineage.",
        "schema": {"type": ["string", "null"]},
    },
    "events_per_second": {
        "label": "Events per second",
        "description": "At most, for each task. Empty means 1000, Segment's documented limit for a workspace, or no "
        "limit with an endpoint; 0 means no limit.",
        "schema": {"type": ["integer", "null"], "minimum": 0},
    },
    "timeout": {
        "label": "Timeout",
        "description": "Seconds for one request; default 30.",
        "schema": {"type": ["integer", "null"], "minimum": 1},
    },
    "deadline": {
        "label": "Deadline",
        "description": "Seconds for one batch with its retries; default 600.",
        "schema": {"type": ["integer", "null"], "minimum": 1},
    },
    "proxy": {
        "label": "Proxy",
        "description": "URL of an HTTP proxy; by default the one of the environment.",
        "schema": {"type": ["string", "null"]},
    },
    "allow_http": {
        "label": "Allow http",
        "description": "Allow an endpoint without TLS on another machine: the write key then travels in clear.",
        "schema": {"type": ["boolean", "null"], "default": False},
    },
    "accept_any_2xx": {
        "label": "Accept any 2xx",
        "description": "Take every 2xx of an endpoint that is not Segment's as an acknowledgement, whatever it says; "
        "RudderStack answers OK.",
        "schema": {"type": ["boolean", "null"], "default": False},
    },
    "public_api_token": {
        "label": "Public API token",
        "description": "For what asks Segment's Public API, such as SegmentDeliverySensor; and in place of a write "
        "key, which is then looked up.",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
    "source_id": {
        "label": "Source id",
        "description": "The source, as the Public API knows it; it needs the token.",
        "schema": {"type": ["string", "null"]},
    },
    "oauth_client_id": {
        "label": "OAuth app id",
        "description": "For sources that require OAuth, which also need the next two fields.",
        "schema": {"type": ["string", "null"]},
    },
    "oauth_key_id": {
        "label": "OAuth key id",
        "description": "The id of the public key that was given to Segment.",
        "schema": {"type": ["string", "null"]},
    },
    "oauth_private_key": {
        "label": "OAuth private key",
        "description": "PEM; it may lose its line breaks in this field.",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
}


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description in the form of Airflow's provider_info.schema.json."""
    package = "airflow_provider_segment"
    assets = {
        "schemes": ["segment"],
        "handler": f"{package}.assets.segment.sanitize_uri",
        "to_openlineage_converter": f"{package}.assets.segment.convert_asset_to_openlineage",
    }
    return {
        "package-name": "airflow-provider-segment",
        "name": "Segment",
        "description": "The rows of any SQL query become Segment calls, in batches, every one accounted for.",
        "integrations": [{"integration-name": "Segment", "external-doc-url": _DOCS, "tags": ["service"]}],
        "operators": _of_segment(f"{package}.operators.segment", f"{package}.operators.reverse_etl"),
        "sensors": _of_segment(f"{package}.sensors.segment", f"{package}.sensors.regulation"),
        "triggers": _of_segment(*(f"{package}.triggers.{name}" for name in ("segment", "regulation", "reverse_etl"))),
        "hooks": [{"integration-name": "Segment", "python-modules": [f"{package}.hooks.segment"]}],
        "transfers": [
            {
                "source-integration-name": "Common SQL",
                "target-integration-name": "Segment",
                "python-module": f"{package}.transfers.{name}",
            }
            for name in ("sql_to_segment", "sql_to_segment_regulation")
        ],
        "connection-types": [
            {
                "connection-type": "segment",
                "hook-class-name": f"{package}.hooks.segment.SegmentHook",
                "hook-name": "Segment",
                "ui-field-behaviour": UI_FIELD_BEHAVIOUR,
                "conn-fields": CONN_FIELDS,
            }
        ],
        "config": {
            "segment": {
                "description": "Settings of the provider for Segment.",
                "options": {
                    "state_conn_ids": {
                        "description": "The connections whose syncs the page Segment syncs shows (Airflow 3.1 and "
                        "later), parted by commas: those that tasks have as state_conn_id. A schema of a connection "
                        "follows an at sign. The API server reads it when it starts.",
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "segment_state,warehouse@segment",
                        "default": "",
                    },
                },
            },
        },
        "extra-links": [f"{package}.links.segment.SegmentDebuggerLink"],
        "cli": [f"{package}.cli.get_segment_cli_commands"],
        "notifications": [f"{package}.notifications.segment.SegmentNotifier"],
        "asset-uris": [assets],
        "dataset-uris": [assets],  # what Airflow 2 calls them
    }


def _of_segment(*modules: str) -> list[dict[str, Any]]:
    return [{"integration-name": "Segment", "python-modules": list(modules)}]
