"""The scope in which legacy code finds the values of the config and cannot change them."""

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
"""Keys that legacy code computes from the data and stores; they are not in the config or sealed."""

_OPEN: dict[str, tuple[LegacyScope, object]] = {}
"""The one open scope of this process, under the key "scope".

This is a dict because setdefault and pop cannot be interrupted half-way, and because a forked
process would inherit a lock that another thread held.
"""


class LegacyScope:
    """Context manager within which the legacy globals equal the config.

    On entry the globals are filled from the config, completely or not at all, and no earlier value
    shows through. On exit the earlier values are restored, whatever happened inside. In between the
    globals are sealed. A foreign dict cannot be sealed: it is filled and watched, and `check` and
    the exit name what was changed. `mode` says which of the two applies.

    A process has at most one open scope. An open scope can be pickled: the process that unpickles
    it then has the same values, sealed. A forked process has them anyway. Use `worker_init` as the
    `worker_init_fn` of a DataLoader.
    """

    def __init__(
        self,
        config: Any,
        *,
        module: str | None = None,
        attribute: str = "cfg",
        computed: Iterable[str] = COMPUTED_KEYS,
    ) -> None:
        """Compute the values; nothing changes before the scope is entered.

        Args:
            config: See `dataclass_to_legacy_dict`.
            module: Dotted name of a foreign parameter module; None for `ptycho_dist.legacy.params`.
            attribute: Name of the dict in that module.
            computed: Keys that legacy code may write, instead of COMPUTED_KEYS.

        Raises:
            ExecutionConfigRefused: See `dataclass_to_legacy_dict`.
            LegacyError: See `dataclass_to_legacy_dict`; or the config sets a computed key.
        """
        address = Address(module or OWN_MODULE, attribute)
        self._prepare(dataclass_to_legacy_dict(config), address, computed)

    def _prepare(self, legacy: dict[str, Any], address: Address, computed: Iterable[str]) -> None:
        self._legacy = legacy
        self._address = address
        self._computed = frozenset(computed)
        both = sorted(self._computed & self._legacy.keys())
        if both:
            raise LegacyError(f"{', '.join(both)}: set by the config, so not a computed key")
        self._forget()

    def _forget(self) -> None:
        self._target: dict[str, Any] | None = None
        self._before: Before | None = None
        self._values: dict[str, Any] = {}
        self._expected: dict[str, str] = {}
        self._claim: tuple[LegacyScope, object] | None = None
        self._opened_at = "a moment"
        self._waits_for_with = False

    # --- state -------------------------------------------------------------------------------

    @property
    def mode(self) -> Literal["sealed", "watched"]:
        """`sealed` if writes are refused; `watched` for a foreign dict, where they are detected."""
        return "sealed" if self._address.is_own else "watched"

    @property
    def address(self) -> str:
        """Where legacy code finds the values, such as `ptycho_dist.legacy.params.cfg`."""
        return str(self._address)

    @property
    def is_open(self) -> bool:
        """Whether the globals of this process currently belong to this scope."""
        return bool(self._expected)

    @property
    def values(self) -> dict[str, Any]:
        """A copy of the values that the scope put in, without computed keys."""
        return copy.deepcopy(self._values)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON of the current globals, without computed keys.

        It is equal in every process and for every order of keys.

        Raises:
            LegacyError: See `fingerprints`.
        """
        return digest(self.fingerprints())

    def fingerprints(self) -> dict[str, str]:
        """Return the canonical JSON of each current global value, without computed keys.

        Raises:
            LegacyError: The scope is closed, the dict was replaced, the seal was broken, or a value
                cannot be compared between processes.
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
        """Compare the globals with the values that the scope put in.

        Raises:
            LegacyError: See `fingerprints`; or a value differs, and the message names its key.
        """
        changed = differences(self._expected, self.fingerprints())
        if changed:
            raise LegacyError(f"{self._address} was changed in a LegacyScope: {changed}")

    def worker_init(self, worker: int = 0) -> None:
        """Check the values in a DataLoader worker started by fork, spawn or forkserver.

        A spawned worker filled and sealed its globals when it unpickled the scope; a forked worker
        inherited them.

        Args:
            worker: Number of the worker, as the DataLoader passes it to `worker_init_fn`.

        Raises:
            LegacyError: The worker does not have the values of the scope.
        """
        try:
            self.check()
        except LegacyError as error:
            raise LegacyError(f"DataLoader worker {worker}: {error}") from None

    # --- opening and closing -----------------------------------------------------------------

    def __enter__(self) -> LegacyScope:
        """Fill the globals, then seal or watch them.

        Raises:
            LegacyError: A scope is already open in this process, the values are not valid, or a
                value of a foreign dict cannot be compared between processes.
            UserError: The foreign module does not exist or has no such dict.
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
        """Restore the earlier values.

        Raises:
            LegacyError: See `check`. If the scope is left because of another error, this one is
                only logged.
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
        """Close a scope that was opened by unpickling and is not used in a `with` statement.

        Raises:
            LegacyError: See `check`.
        """
        self.__exit__(None, None, None)

    def _open(self, given: Mapping[str, Any] | None) -> None:
        """Fill the globals with `given`, or else with the values of the config."""
        claim = (self, object())
        try:
            holder, _ = held = _OPEN.setdefault("scope", claim)
            if held is not claim:
                raise LegacyError(
                    f"{caller()} wants to open a LegacyScope; one is open in this process since "
                    f"{holder._opened_at}, and only one can be open"
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
        """Compute the content of the globals; other keys of a foreign dict are kept."""
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
        """Restore the earlier values even if Ctrl-C interrupts it: restore again, then raise."""
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
    """Recreate a scope, and open it here if it was open where it was pickled.

    Raises:
        LegacyError: Another scope with other values is open in this process.
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
