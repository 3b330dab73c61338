"""The connection's form in Airflow 2.11 to 3.1, made from what provider_info says to Airflow 3.2 and later."""

from __future__ import annotations

from typing import Any

from airflow_provider_segment.provider_info import CONN_FIELDS, UI_FIELD_BEHAVIOUR


def widgets() -> dict[str, Any]:
    """Return the form's extra fields as wtforms fields."""
    from flask_appbuilder.fieldwidgets import BS3PasswordFieldWidget, BS3TextFieldWidget
    from flask_babel import lazy_gettext
    from wtforms import BooleanField, IntegerField, PasswordField, StringField
    from wtforms.validators import NumberRange, Optional, any_of

    fields: dict[str, Any] = {}
    for name, field in CONN_FIELDS.items():
        schema, label, text = field["schema"], lazy_gettext(field["label"]), field["description"]
        if "boolean" in schema["type"]:
            fields[name] = BooleanField(label, description=text, default=schema.get("default"))
            continue
        secret = schema.get("format") == "password"
        kind = IntegerField if "integer" in schema["type"] else PasswordField if secret else StringField
        rules: list[Any] = [Optional()]
        if "enum" in schema:
            rules.append(any_of(schema["enum"]))
        if "minimum" in schema:
            rules.append(NumberRange(min=schema["minimum"]))
        fields[name] = kind(
            label,
            rules,
            widget=BS3PasswordFieldWidget() if secret else BS3TextFieldWidget(),
            description=text,
            default=schema.get("default"),
        )
    return fields


def behaviour() -> dict[str, Any]:
    """Return which standard fields are hidden, and what the others are called."""
    return {name.replace("-", "_"): value for name, value in UI_FIELD_BEHAVIOUR.items()}
