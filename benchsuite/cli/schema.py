"""`benchsuite schema`: the keys of a sweep.toml as JSON Schema, for editors and programs."""

from __future__ import annotations

import click


@click.command(
    epilog="""\b
Examples:
  benchsuite schema > sweep.schema.json
  echo '#:schema ./sweep.schema.json' | cat - sweep.toml > checked.toml   # editors with TOML support read that line
"""
)
def command() -> None:
    """Print the JSON Schema of a sweep.toml: every key with its type, default, meaning, limits and flag.

    No key is required in the file, for flags may give it.
    """
    import json

    from benchsuite.spec import SweepSpec

    schema = SweepSpec.model_json_schema()
    for table in (schema, *schema["$defs"].values()):
        if any("x-flag" in key for key in table["properties"].values()):
            table.pop("required", None)
    click.echo(json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=2))
