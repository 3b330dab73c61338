"""What a DAG's author wrote as text stays text where Airflow renders templates as native objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_segment.compat import Context

# No literal of Python begins so: with it before a template, native rendering leaves the result as text.
_NO_LITERAL = "= "


class Text(str):
    """A setting that is text whatever its template gives, such as ``sync_id="{{ ds_nodash }}"``."""

    __slots__ = ()


def as_text(value: Any) -> Any:
    """Return a setting that is text, or may be a template of one, as such; None and an XCom's value as they are.

    :param value: as the DAG's author gave it.
    """
    return Text(value) if isinstance(value, str) else value


class KeepsText:
    """For operators and notifiers, before Airflow's class.

    With ``render_template_as_native_obj=True`` Airflow takes each text for a literal of Python if it can: the zip code
    "12134" would become a number. A text without a template is left alone, and a `Text` stays one with it.
    """

    template_ext: Sequence[str]

    def render_template(
        self, content: Any, context: Context, jinja_env: Any = None, seen_oids: set[int] | None = None
    ) -> Any:
        """Render a template, for Airflow.

        :param content: text, or what holds it.
        :param context: of the task.
        :param jinja_env: to use for it.
        :param seen_oids: what was rendered before.
        """
        parent: Any = super()
        env = jinja_env or parent.get_template_env()
        if (
            isinstance(content, str)
            and not content.endswith(tuple(self.template_ext))
            and not _is_template(content, env)
        ):
            return content
        rendered = parent.render_template(content, context, env, seen_oids)
        if isinstance(content, Text) and rendered is not None and not isinstance(rendered, str):
            return parent.render_template(_NO_LITERAL + content, context, env, seen_oids).removeprefix(_NO_LITERAL)
        return rendered


def _is_template(text: str, env: Any) -> bool:
    """Tell whether a text has anything that Jinja would act on."""
    marks = (
        env.variable_start_string,
        env.block_start_string,
        env.comment_start_string,
        env.line_statement_prefix,
        env.line_comment_prefix,
    )
    return any(mark in text for mark in marks if mark)
