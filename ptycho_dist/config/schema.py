"""The JSON Schema of run.yaml, for editors: `python -m ptycho_dist.config.schema > FILE`."""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter

from ptycho_dist.config.load import FRONT_END_DEFAULTS
from ptycho_dist.config.run import RunConfig


def run_config_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of run.yaml, with the defaults of run.yaml."""
    schema = TypeAdapter(RunConfig).json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "run.yaml"
    for dotted, value in FRONT_END_DEFAULTS.items():
        section, field = dotted.split(".")
        block = schema["properties"][section]
        definition = schema["$defs"][block["$ref"].rpartition("/")[2]]
        definition["properties"][field]["default"] = value
        block.pop("default", None)
    return schema


if __name__ == "__main__":
    print(json.dumps(run_config_schema(), indent=2, sort_keys=True))
