"""What a DAG's author wrote as text stays text where Airflow renders templates as native objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from airflow_provider_segment.compat import Context

# No literal of Python begins so: with it before a template, native rendering leaves the result as text.
_NO_LITERAL = "= "


class KeepsText:
    """For operators and notifiers, before Airflow's class.

    With ``render_template_as_native_obj=True`` Airflow takes each text for a literal of Python if it can: the zip code
    "12134" would become a number. A text without a template is left alone, and a setting of `text_fields` stays text
    with one, such as ``sync_id="{{ ds_nodash }}"``. Such a setting is told by its name, not by a type of its own: a DAG
    is stored with plain values only.
    """

    template_ext: Sequence[str]
    text_fields: ClassVar[Sequence[str]] = ("segment_conn_id",)

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
        is_text = isinstance(content, str) and any(content is getattr(self, name) for name in self.text_fields)
        rendered = parent.render_template(content, context, env, seen_oids)
        if is_text and rendered is not None and not isinstance(rendered, str):
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
