"""Completes the plain data of a config with the defaults of its site profile.

The caller passes the function that reads profiles, since only the launcher reads them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ptycho_dist.config.faults import Fault
from ptycho_dist.errors import UserError

SiteDefaults = Callable[[str], Mapping[str, Mapping[str, Any]]]
"""Name of a site → section → field → default value.

Raises UserError if there is no such profile or it is faulty.
"""


def complete_from_site(
    data: dict[str, Any], site_defaults: SiteDefaults | None
) -> tuple[dict[str, Any], list[Fault]]:
    """Add the defaults of the site that `data` names to fields that `data` omits.

    A null in the config counts as a value. Mappings are completed key by key; lists are not.

    Args:
        data: sections of fields; changed in place.
        site_defaults: reads a profile; None: a config that names a site is refused.

    Returns:
        Dotted path → value of each default that was added, and the faults of the site.
    """
    name = data.get("site")
    if not isinstance(name, str):
        return {}, []
    if site_defaults is None:
        return {}, [Fault("site", f"{name}: only ptycho-launch reads site profiles; omit it here")]
    try:
        defaults = site_defaults(name)
    except UserError as error:
        return {}, [Fault("site", line) for line in str(error).splitlines()]
    put: dict[str, Any] = {}
    for section, fields in defaults.items():
        block = data.setdefault(section, {})
        if isinstance(block, dict):
            put |= dict(_put_absent(block, fields, section))
    return put, []


def _put_absent(
    block: dict[str, Any], fields: Mapping[str, Any], prefix: str
) -> Iterator[tuple[str, Any]]:
    for key, value in fields.items():
        path = f"{prefix}.{key}"
        if key not in block:
            block[key] = copy.deepcopy(value)
            yield path, value
        elif isinstance(value, dict) and isinstance(block[key], dict):
            yield from _put_absent(block[key], value, path)
