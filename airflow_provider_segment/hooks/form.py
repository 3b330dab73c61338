"""The connection's form in Airflow 2.11 to 3.1, made from what provider_info says to Airflow 3.2 and later."""

from __future__ import annotations

from typing import Any

from airflow_provider_segment.provider_info import CONN_FIELDS, UI_FIELD_BEHAVIOUR

# What Airflow 2 takes for a secret that was not changed: airflow.www.views.SENSITIVE_FIELD_PLACEHOLDER.
UNCHANGED = "RATHER_LONG_SENSITIVE_FIELD_PLACEHOLDER"


def widgets() -> dict[str, Any]:
    """Return the form's extra fields as wtforms fields."""
    from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
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
            rules += [NumberRange(min=schema["minimum"]), _zero_as_text]
        fields[name] = kind(
            label,
            rules,
            widget=_secret_input if secret else BS3TextFieldWidget(),
            description=text,
            default=schema.get("default"),
        )
    return fields


def behaviour() -> dict[str, Any]:
    """Return which standard fields are hidden, and what the others are called."""
    return {name.replace("-", "_"): value for name, value in UI_FIELD_BEHAVIOUR.items()}


def _zero_as_text(_form: Any, field: Any) -> None:
    """Let a 0 be saved as text, for Airflow 2 fills its form with what Python takes for true, and so forgets a 0."""
    if field.data == 0:
        field.data = "0"


def _secret_input(field: Any, **attributes: Any) -> Any:
    """Draw a secret that was saved as unchanged, for Airflow 2 deletes one that comes back empty."""
    from flask_appbuilder.fieldwidgets import BS3PasswordFieldWidget

    unchanged = field.data and (not field.raw_data or field.data == UNCHANGED)
    return BS3PasswordFieldWidget(hide_value=False)(field, **attributes, value=UNCHANGED if unchanged else "")
