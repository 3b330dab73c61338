"""The tables of the state, made where they are not there yet; those of older versions get the columns that are new."""

from __future__ import annotations

import sqlalchemy as sa


def make_tables(engine: sa.engine.Engine, meta: sa.MetaData) -> None:
    """Make tables and columns that are missing; new columns can be null, since older versions write rows without them.

    :param engine: of the database.
    :param meta: the tables as they should be.
    """
    meta.create_all(engine)
    with engine.begin() as connection:
        for table in meta.sorted_tables:
            there = columns_of(connection, table)
            for column in table.columns:
                if column.name not in there:
                    words = sa.schema.CreateColumn(column).compile(dialect=engine.dialect)
                    name = engine.dialect.identifier_preparer.format_table(table)
                    connection.exec_driver_sql(f"ALTER TABLE {name} ADD COLUMN {words}")


def columns_of(connection: sa.engine.Connection, table: sa.Table) -> set[str]:
    """Return the names of the columns that a table has in the database; none where it is not there.

    :param connection: to the database.
    :param table: as it should be.
    """
    inspector = sa.inspect(connection)
    if not inspector.has_table(table.name, schema=table.schema):
        return set()
    return {column["name"] for column in inspector.get_columns(table.name, schema=table.schema)}
