"""Airflow finds the provider, its hook and its connection form."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import airflow
import jsonschema
import pytest
from airflow.providers_manager import ProvidersManager

from airflow_provider_segment import __version__, get_provider_info
from airflow_provider_segment.hooks.form import widgets
from airflow_provider_segment.provider_info import CONN_FIELDS

IN_AIRFLOW_2 = airflow.__version__.startswith("2.")
FIELDS = set(CONN_FIELDS)
MODULES = ("operators", "hooks", "sensors", "triggers")
CONVERTERS = ("to_openlineage_converter",)
NEEDED = {"region", "events_per_second", "timeout", "deadline", "proxy", "allow_http"}


def test_discovered() -> None:
    """Airflow discovers the provider by its entry point, with its version."""
    assert ProvidersManager().providers["airflow-provider-segment"].version == __version__


def test_hook_of_the_connection_type() -> None:
    """A connection of type segment is served by our hook."""
    hook = ProvidersManager().hooks["segment"]
    assert hook is not None
    assert hook.hook_class_name == "airflow_provider_segment.hooks.segment.SegmentHook"
    assert hook.hook_name == "Segment"
    assert hook.connection_testable


def test_info_fits_airflows_schema() -> None:
    """What the provider says of itself fits the schema that Airflow loads it with."""
    jsonschema.validate(get_provider_info(), schema("provider_info.schema.json"))


@pytest.mark.skipif(IN_AIRFLOW_2, reason="Airflow 2 reads the form from the hook's class")
def test_form_fits_airflows_schema() -> None:
    """The connection's form fits the schema that Airflow 3 draws it by."""
    types = schema("provider.yaml.schema.json")["properties"]["connection-types"]
    jsonschema.validate(get_provider_info()["connection-types"], types)


def test_modules_exist() -> None:
    """Every module and class that the provider names can be imported."""
    info = get_provider_info()
    modules = [name for kind in MODULES for part in info[kind] for name in part["python-modules"]]
    modules += [part["python-module"] for part in info["transfers"]]
    classes = [*info["extra-links"], *info["notifications"]]
    for name in [*classes, *(part[kind] for part in info["asset-uris"] for kind in ("handler", *CONVERTERS))]:
        module, _, attribute = name.rpartition(".")
        assert callable(getattr(importlib.import_module(module), attribute))
    for name in modules:
        assert importlib.import_module(name).__name__ == name
    for kind in info["connection-types"]:
        module, _, name = kind["hook-class-name"].rpartition(".")
        assert getattr(importlib.import_module(module), name).conn_type == kind["connection-type"]


@pytest.mark.skipif(not IN_AIRFLOW_2, reason="Airflow 3 reads the form from the provider's description")
def test_form_in_airflow_2() -> None:
    """Airflow 2 shows our fields, calls the password the write key, and hides what is not used."""
    manager = ProvidersManager()
    widgets = {key: widget for key, widget in manager.connection_form_widgets.items() if "__segment__" in key}
    assert {widget.field_name for widget in widgets.values()} == FIELDS >= NEEDED
    assert set(widgets) == {f"extra__segment__{name}" for name in FIELDS}
    behaviour = manager.field_behaviours["segment"]
    assert behaviour["relabeling"]["password"] == "Write key"
    assert set(behaviour["hidden_fields"]) == {"login", "port", "schema"}


@pytest.mark.skipif(not IN_AIRFLOW_2, reason="Airflow 3 keeps secrets and zeros itself")
def test_what_airflow_2_would_forget() -> None:
    """A saved secret comes to Airflow 2's form as "unchanged", not as itself nor empty, and a limit of 0 is kept."""
    from airflow.www.views import SENSITIVE_FIELD_PLACEHOLDER
    from werkzeug.datastructures import MultiDict
    from wtforms import Form

    names = ("oauth_private_key", "events_per_second")
    kind = type("Drawn", (Form,), {name: widgets()[name] for name in names})
    opened = kind(data={"oauth_private_key": "a saved key"})
    assert f'value="{SENSITIVE_FIELD_PLACEHOLDER}"' in opened.oauth_private_key()
    assert "a saved key" not in opened.oauth_private_key()
    assert 'value=""' in kind().oauth_private_key()
    sent = kind(MultiDict({"oauth_private_key": "a new key", "events_per_second": "0"}))
    assert sent.validate(), sent.errors
    assert sent.data == {"oauth_private_key": "a new key", "events_per_second": "0"}
    assert "a new key" not in sent.oauth_private_key()


@pytest.mark.skipif(IN_AIRFLOW_2, reason="Airflow 2 has no such service")
def test_form_in_airflow_3() -> None:
    """Airflow 3's UI gets our fields, that the password is the write key, and what is not used."""
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    form = next(found for found in HookMetaService.hook_meta_data() if found.connection_type == "segment")
    assert form.extra_fields is not None
    assert set(form.extra_fields) == FIELDS >= NEEDED
    for name, field in form.extra_fields.items():
        assert field["schema"]["title"] == CONN_FIELDS[name]["label"]
    assert form.extra_fields["region"]["schema"]["enum"] == ["us", "eu"]
    standard = form.standard_fields
    assert standard is not None
    assert standard.password.title == "Write key"
    assert [standard.login.hidden, standard.port.hidden, standard.url_schema.hidden] == [True, True, True]
    assert not standard.host.hidden


def schema(name: str) -> Any:
    """Return a schema that Airflow is shipped with."""
    return json.loads((Path(airflow.__file__).parent / name).read_text())
