"""How PostgreSQL would find, and does find, what a query asks for."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

Node = dict[str, Any]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", []):
        yield from nodes(inner)


def plans(engine: Engine, query: Any) -> Iterator[list[dict[str, Any]]]:
    """Yield the nodes of the plan for these parameters, and of the one for any, which a busy connection may turn to."""
    with engine.connect() as connection:
        given = query.compile(dialect=connection.dialect, compile_kwargs={"render_postcompile": True})
        (plan,) = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {given}", given.params).scalar_one()
        yield list(nodes(plan["Plan"]))
        dollars = PGDialect_psycopg(paramstyle="numeric_dollar")
        generic = query.compile(dialect=dollars, compile_kwargs={"render_postcompile": True})
        statement = f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {generic}"
        with connection.connection.cursor() as cursor:
            cursor.execute(statement)
            ((plan,),) = cursor.fetchone()  # type: ignore[misc]
        yield list(nodes(plan["Plan"]))


def walked(engine: Engine, query: Any) -> int:
    """Run the query; return how many rows of tables it looked at."""
    with engine.connect() as connection:
        given = query.compile(dialect=connection.dialect, compile_kwargs={"render_postcompile": True})
        explain = f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {given}"
        (plan,) = connection.exec_driver_sql(explain, given.params).scalar_one()
    read = [node for node in nodes(plan["Plan"]) if "Relation Name" in node]
    return sum(node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) for node in read)
