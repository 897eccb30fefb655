"""How the resources look in the published document, and so in the clients that are generated from it."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from typing_extensions import TypeAliasType

JSON = dict[str, Any]

# An alias that knows its name is a schema of that name; a bare Literal is another nameless one in each place.
OutputFormat = TypeAliasType("OutputFormat", Literal["png", "jpeg", "webp"])
Fidelity = TypeAliasType("Fidelity", Literal["exact", "raw"])


class Answer(BaseModel):
    """What is only ever answered: all of its fields are there, those with a default too, and the document says so."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)


def without_defaults(schema: JSON) -> None:
    """Take the defaults out of the schema of what overrides other values: a generated client would send them."""
    for property_ in schema["properties"].values():
        property_.pop("default", None)
