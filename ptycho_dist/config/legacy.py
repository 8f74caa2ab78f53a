"""The `legacy:` block: the legacy parameter dict that the ranks fill from the config."""

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from ptycho_dist.config.strictness import STRICT

ModulePath = Annotated[
    str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$", max_length=256)
]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LegacyConfig:
    """The `legacy:` block of run.yaml: the global parameter dict that legacy code imports."""

    module: Annotated[
        ModulePath | None,
        Field(
            description="Python module that holds a foreign parameter dict, such as "
            "ptycho.params; the dict is filled from the config and watched for changes. none: "
            "ptycho_dist.legacy.params, which is filled and sealed."
        ),
    ] = None
    attribute: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
            max_length=256,
            description="Name of the dict in that module.",
        ),
    ] = "cfg"
