"""Which legacy parameter dict the ranks keep to the config."""

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from ptycho_dist.config.strictness import STRICT

ModulePath = Annotated[
    str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$", max_length=256)
]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LegacyConfig:
    """The `legacy:` block of run.yaml: the globals that legacy consumers import."""

    module: Annotated[
        ModulePath | None,
        Field(
            description="Python module of a foreign parameter dict, such as ptycho.params: filled "
            "and watched; none: ptycho_dist.legacy.params, filled and sealed."
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
