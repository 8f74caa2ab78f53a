"""The scope in which legacy consumers find the values of the config, and cannot change them."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Literal

from ptycho_dist.legacy.bridge import apply_legacy_values, dataclass_to_legacy_dict
from ptycho_dist.legacy.digest import differences, digest, fingerprints
from ptycho_dist.legacy.errors import LegacyError
from ptycho_dist.legacy.params import DEFAULTS, require_valid
from ptycho_dist.legacy.sealing import LegacyValues, caller, derived_big_n, seal, unseal
from ptycho_dist.legacy.target import OWN_MODULE, Address, Before, replace_content

log = logging.getLogger(__name__)

COMPUTED_KEYS = frozenset({"bigN", "intensity_scale", "probe"})
"""What legacy consumers work out from the data and store: not of the config, and not sealed."""

_OPEN: dict[str, tuple[LegacyScope, object]] = {}
"""The one open scope of this process, under "scope". A dict, because setdefault and pop cannot be
interrupted half-way, and a forked process inherits no lock that another thread held."""


class LegacyScope:
    """`with LegacyScope(config):` the legacy globals are what the config says, and stay so.

    On entry the globals are filled from the config, whole or not at all; what was in them before
    does not show through, and comes back on exit, whatever happened inside. In between they are
    sealed. A foreign dict cannot be sealed: it is filled and watched, and `check` and the exit
    name what was changed (`mode` says which of the two it is).

    One scope is open in a process at a time. An open scope can be pickled: the process that
    unpickles it has the same values, sealed, from then on; a process that was forked has them
    anyway. `worker_init` is a DataLoader's `worker_init_fn`.
    """

    def __init__(
        self,
        config: Any,
        *,
        module: str | None = None,
        attribute: str = "cfg",
        computed: Iterable[str] = COMPUTED_KEYS,
    ) -> None:
        """Work out the values; nothing is changed before the scope is entered.

        Args:
            config: as in dataclass_to_legacy_dict.
            module: dotted name of a foreign parameter module; None: `ptycho_dist.legacy.params`.
            attribute: the dict in that module.
            computed: keys that consumers may write, in place of COMPUTED_KEYS.

        Raises:
            ExecutionConfigRefused, LegacyError: as dataclass_to_legacy_dict; or the config gives
                one of the computed keys.
        """
        address = Address(module or OWN_MODULE, attribute)
        self._prepare(dataclass_to_legacy_dict(config), address, computed)

    def _prepare(self, legacy: dict[str, Any], address: Address, computed: Iterable[str]) -> None:
        self._legacy = legacy
        self._address = address
        self._computed = frozenset(computed)
        both = sorted(self._computed & self._legacy.keys())
        if both:
            raise LegacyError(f"{', '.join(both)}: given by the config, so not a computed key")
        self._forget()

    def _forget(self) -> None:
        self._target: dict[str, Any] | None = None
        self._before: Before | None = None
        self._values: dict[str, Any] = {}
        self._expected: dict[str, str] = {}
        self._claim: tuple[LegacyScope, object] | None = None
        self._opened_at = "a moment"
        self._waits_for_with = False

    # --- what it is --------------------------------------------------------------------------

    @property
    def mode(self) -> Literal["sealed", "watched"]:
        """sealed: nobody can write; watched: a foreign dict, in which writes are found out."""
        return "sealed" if self._address.is_own else "watched"

    @property
    def address(self) -> str:
        """Where consumers find the values: `ptycho_dist.legacy.params.cfg`."""
        return str(self._address)

    @property
    def is_open(self) -> bool:
        """Whether the globals of this process are the scope's now."""
        return bool(self._expected)

    @property
    def values(self) -> dict[str, Any]:
        """A copy of the values as the scope has put them in, without computed ones."""
        return copy.deepcopy(self._values)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON of the values that are in the globals now.

        Computed keys do not count. The same in every process and for every order of keys.

        Raises:
            LegacyError: as fingerprints.
        """
        return digest(self.fingerprints())

    def fingerprints(self) -> dict[str, str]:
        """Canonical JSON of each value that is in the globals now, computed keys left out.

        Raises:
            LegacyError: the scope is closed, somebody has exchanged the dict or broken the seal,
                or a value cannot be compared between processes.
        """
        target = self._target
        if target is None or not self.is_open:
            raise LegacyError(f"no LegacyScope of {self._address} is open in this process")
        if not self._address.leads_to(target):
            raise LegacyError(f"{self._address} is no longer the dict that the LegacyScope filled")
        if self.mode == "sealed" and not getattr(target, "sealed", False):
            raise LegacyError(f"the seal of {self._address} is broken")
        return fingerprints(target, self._computed)

    def check(self) -> None:
        """Compare the globals with what the scope has put in.

        Raises:
            LegacyError: as fingerprints; or a value differs, whose key is named.
        """
        changed = differences(self._expected, self.fingerprints())
        if changed:
            raise LegacyError(f"{self._address} was changed in a LegacyScope: {changed}")

    def worker_init(self, worker: int = 0) -> None:
        """`worker_init_fn` of a DataLoader, under fork, spawn and forkserver.

        A spawned worker has filled and sealed its globals when it unpickled the scope, a forked
        one has inherited them; here they are compared.

        Raises:
            LegacyError: the worker does not have the values of the scope.
        """
        try:
            self.check()
        except LegacyError as error:
            raise LegacyError(f"DataLoader worker {worker}: {error}") from None

    # --- opening and closing -----------------------------------------------------------------

    def __enter__(self) -> LegacyScope:
        """Fill and seal, or fill and watch.

        Raises:
            LegacyError: a scope is open in this process already; the values are not valid; a value
                of a foreign dict cannot be compared between processes.
            UserError: the foreign module is not there or has no such dict.
        """
        if self._waits_for_with:  # opened when it was unpickled
            self._waits_for_with = False
        else:
            self._open(None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Put back what was there before.

        Raises:
            LegacyError: as check. When an error is leaving the scope already, that one goes on
                and this one is logged.
        """
        problem: LegacyError | None = None
        try:
            self.check()
        except LegacyError as found:
            problem = found
        finally:
            self._put_back_surely()
        if problem is not None and error is None:
            raise problem
        if problem is not None:
            log.error("%s", problem)

    def close(self) -> None:
        """End a scope that was opened by unpickling and is in no `with`.

        Raises:
            LegacyError: as check.
        """
        self.__exit__(None, None, None)

    def _open(self, given: Mapping[str, Any] | None) -> None:
        """Fill the globals with `given`, or with what the config says."""
        claim = (self, object())
        try:
            holder, _ = held = _OPEN.setdefault("scope", claim)
            if held is not claim:
                raise LegacyError(
                    f"{caller()} wants to open a LegacyScope; one is open in this process since "
                    f"{holder._opened_at}, and there can be one"
                )
            self._claim = claim
            self._opened_at = caller()
            self._target = self._address.find()
            content = self._content(self._target) if given is None else dict(given)
            expected = fingerprints(content, self._computed)
            self._values = copy.deepcopy({key: content[key] for key in expected})
            self._before = Before(self._target)
            replace_content(self._target, content)
            if isinstance(self._target, LegacyValues) and self.mode == "sealed":
                seal(self._target, self._computed)
            self._expected = expected
        except BaseException:
            if _OPEN.get("scope") is claim:
                self._claim = claim
                self._put_back_surely()
            raise

    def _content(self, target: dict[str, Any]) -> dict[str, Any]:
        """What the globals are to hold: a function of the config, and of a foreign dict's rest."""
        if self.mode == "watched":
            content = dict(target)
            apply_legacy_values(content, self._legacy)
            return content
        content = {**DEFAULTS, **{k: v for k, v in self._legacy.items() if v is not None}}
        try:
            require_valid(content)
        except ValueError as error:
            raise LegacyError(str(error)) from None
        content["bigN"] = derived_big_n(content)
        return content

    def _put_back_surely(self) -> None:
        """Ctrl-C in the middle of it must not leave a mixture: begin again, then let it through."""
        try:
            self._put_back()
        except BaseException:
            self._put_back()
            raise

    def _put_back(self) -> None:
        if self._target is not None:
            if self._before is not None:
                self._before.put_back(self._target)
            if isinstance(self._target, LegacyValues) and self.mode == "sealed":
                unseal(self._target)
            self._address.bind(self._target)
        if self._claim is not None and _OPEN.get("scope") is self._claim:
            _OPEN.pop("scope")
        self._forget()

    # --- other processes ---------------------------------------------------------------------

    def __reduce__(self) -> tuple[Any, ...]:
        given = None
        if self.is_open and self._target is not None:
            computed = {k: v for k, v in self._target.items() if k in self._computed}
            given = {**self._values, **computed}
        return _unpickle, (self._legacy, self._address, self._computed, given)


def _unpickle(
    legacy: dict[str, Any],
    address: Address,
    computed: frozenset[str],
    given: dict[str, Any] | None,
) -> LegacyScope:
    """The scope of this process; opened here, if it was open where it was pickled.

    Raises:
        LegacyError: another scope is open in this process, with other values.
    """
    scope = LegacyScope.__new__(LegacyScope)
    scope._prepare(legacy, address, computed)
    if given is None:
        return scope
    if "scope" in _OPEN:
        there, _ = _OPEN["scope"]
        found = {"(dict)": there.address, **there.fingerprints()}
        changed = differences({"(dict)": str(address), **fingerprints(given, computed)}, found)
        if changed:
            raise LegacyError(
                "an unpickled LegacyScope meets another one that is open in this process since "
                f"{there._opened_at}: {changed}"
            )
        return there
    scope._open(given)
    scope._waits_for_with = True
    return scope
