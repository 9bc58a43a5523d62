"""JSON schemas of pydantic's types as an API's description has them, and examples made of their fields' examples."""

from collections.abc import Iterable
from typing import Any, Final, Literal, TypeAlias

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

Mode: TypeAlias = Literal["validation", "serialization"]

_PREFIX: Final = "#/components/schemas/"


class Schemas:
    """The schemas of types, each as it is when taken (validation) or given (serialization)."""

    def __init__(self, shapes: Iterable[tuple[Any, Mode]]) -> None:
        adapters = {(repr(shape), mode): TypeAdapter(shape) for shape, mode in shapes}
        self._schemas, definitions = TypeAdapter.json_schemas(
            [(name, mode, adapter) for (name, mode), adapter in adapters.items()],
            ref_template=_PREFIX + "{model}",
            schema_generator=_Generator,
        )
        self.definitions: dict[str, JsonSchemaValue] = definitions.get("$defs", {})
        """The models' schemas, by name."""

    def of(self, shape: Any, mode: Mode) -> JsonSchemaValue:
        """The schema of one of the types."""
        return self._schemas[repr(shape), mode]

    def example(self, shape: Any, mode: Mode) -> Any:
        """An example of one of the types. Raises ValueError for a field that has none and needs one."""
        return self._example(self.of(shape, mode), repr(shape))

    def _example(self, schema: JsonSchemaValue, where: str) -> Any:
        if "examples" in schema:
            return schema["examples"][0]
        if "enum" in schema:
            return schema["enum"][0]
        if "$ref" in schema:
            name = schema["$ref"].removeprefix(_PREFIX)
            return self._example(self.definitions[name], name)
        if "anyOf" in schema:
            return self._example(schema["anyOf"][0], where)
        if schema.get("type") == "array":
            return [self._example(schema["items"], where)]
        if schema.get("type") == "object":
            return self._object(schema, where)
        raise ValueError(f"{where}: has no example")

    def _object(self, schema: JsonSchemaValue, where: str) -> dict[str, Any]:
        """Every field that has to be there, and those of the others for which an example was thought of."""
        made = {}
        required = schema.get("required", ())
        for name, field in schema.get("properties", {}).items():
            try:
                made[name] = self._example(field, f"{where}.{name}")
            except ValueError:
                if name in required:
                    raise
        return made


class _Generator(GenerateJsonSchema):
    """Without titles that repeat a field's name; one choice is an enum as several are, which older tools can read."""

    def field_title_should_be_set(self, _schema: Any) -> bool:
        return False

    def literal_schema(self, schema: core_schema.LiteralSchema) -> JsonSchemaValue:
        made = super().literal_schema(schema)
        if "const" in made:
            made["enum"] = [made.pop("const")]
        return made
