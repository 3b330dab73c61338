"""Settings that may be templates: the text that Jinja makes of one becomes the number or truth value that it says."""

from __future__ import annotations

from airflow_provider_segment.core.errors import SettingError


def is_template(value: object) -> bool:
    """Tell whether a setting is a text that Jinja will make something else of.

    :param value: of the setting.
    """
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def yes_or_no(name: str, value: object) -> bool:
    """Return a setting that is True or False, or the text that Jinja makes of one; nothing at all is False.

    :param name: of the setting.
    :param value: what was found.
    :raises SettingError: if it is anything else.
    """
    said = value.strip().lower() if isinstance(value, str) else value
    if said is True or said == "true":
        return True
    if said is False or said is None or said in ("false", "none", ""):
        return False
    raise SettingError(f"{name}: expected True or False, found {value!r}")


def number_of(name: str, value: object) -> float | None:
    """Return a cap as a number, also where Jinja made a text of it; nothing at all is None.

    :param name: of the setting.
    :param value: what was found.
    :raises SettingError: if a text is no number.
    """
    if not isinstance(value, str):
        return value  # type: ignore[return-value]  # Options checks it
    said = value.strip()
    if said in ("", "None"):
        return None
    try:
        return float(said) if "." in said else int(said)
    except ValueError:
        raise SettingError(f"{name}: expected a number, found {value!r}") from None
