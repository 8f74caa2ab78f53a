"""Reads the site profile of a config while its plan is made, once per site."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ptycho_dist.errors import UserError

if TYPE_CHECKING:
    from launcher.sites.profile import PlannedSite


class SiteReader:
    """Returns the defaults of a site to `read_run_config`, and keeps its limits and rules."""

    def __init__(self) -> None:
        self.site: PlannedSite | None = None
        """Limits and rules of the site; None: the config names none, or it cannot be read."""
        self._known: dict[str, Mapping[str, Any] | UserError] = {}

    def __call__(self, name: str) -> Mapping[str, Any]:
        """Return section → field → default value; raises the errors of `read_site`."""
        if name not in self._known:
            try:
                self._known[name] = self._read(name)
            except UserError as error:
                self._known[name] = error
        found = self._known[name]
        if isinstance(found, UserError):
            raise found
        return found

    def _read(self, name: str) -> Mapping[str, Any]:
        from launcher.sites.profile import planned_site
        from launcher.sites.profiles import read_site

        profile = read_site(name).profile
        self.site = planned_site(name, profile)
        return {str(section): fields for section, fields in profile.defaults.items()}
