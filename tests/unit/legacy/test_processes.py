"""The values of a scope in other processes (LI-040, LI-041, LI-060)."""

import copy
import os
import pickle
import subprocess
import sys

import pytest
from waiting import HANG_S

from ptycho_dist.legacy import LegacyError, LegacyScope, LegacySealed, params


def test_a_forked_process_has_the_scope_and_the_seal(config):
    """LI-040, LI-020"""
    with LegacyScope(config) as scope:
        child = os.fork()
        if child == 0:  # no assertion here: it would run pytest's end in the child
            code = 1
            try:
                scope.check()
                LegacyScope(config).__enter__()
            except LegacyError:
                code = 0 if params.cfg.sealed and params.cfg["N"] == 64 else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        scope.check()


def test_unpickled_where_it_is_open_it_is_the_same_scope(config):
    """LI-041"""
    with LegacyScope(config) as scope:
        for twin in (
            pickle.loads(pickle.dumps(scope)),
            pickle.loads(pickle.dumps(scope.worker_init)).__self__,
            copy.deepcopy(scope),
            copy.copy(scope),
        ):
            assert twin is scope
        scope.check()


@pytest.mark.parametrize("end", ["with", "close"])
def test_unpickled_in_another_process_it_is_open_there(end, config):
    """LI-041"""
    with LegacyScope(config) as scope:
        params.cfg["intensity_scale"] = 2.5
        digest = scope.digest
        pickled = pickle.dumps(scope)
    code = (
        "import pickle, sys\n"
        "from ptycho_dist.legacy import params\n"
        "assert params.get('N') == 128\n"
        "scope = pickle.load(sys.stdin.buffer)\n"
        "def look():\n"
        "    assert scope.is_open and params.cfg.sealed and params.get('N') == 64\n"
        "    assert params.get('intensity_scale') == 2.5\n"
        "    print(scope.digest)\n"
        "look()\n"
        + ("with scope: look()\n" if end == "with" else "scope.close()\n")
        + "assert not params.cfg.sealed and params.get('N') == 128\n"
        "with scope: assert params.get('N') == 64\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickled, capture_output=True, timeout=HANG_S
    )
    assert done.returncode == 0, done.stderr.decode()
    assert set(done.stdout.decode().split()) == {digest}


def test_unpickled_where_another_one_is_open_it_is_refused(config, make_run_config, foreign):
    """LI-041"""
    with LegacyScope(config) as scope:
        pickled = pickle.dumps(scope)
    with LegacyScope(make_run_config(N=128)) as other:
        with pytest.raises(LegacyError, match=rf"meets another .* since {__file__}:\d+: N: 128 in"):
            pickle.loads(pickled)
        other.check()
    with (
        LegacyScope(config, module="foreign_params"),
        pytest.raises(LegacyError, match=r"\(dict\): foreign_params\.cfg in place of ptycho_dist"),
    ):
        pickle.loads(pickled)


def test_a_closed_scope_stays_closed(config):
    """LI-041"""
    twin = pickle.loads(pickle.dumps(LegacyScope(config, computed=["label"])))
    assert not twin.is_open
    assert params.get("N") == 128
    with twin:
        params.cfg["label"] = "free"
        with pytest.raises(LegacySealed):
            params.cfg["intensity_scale"] = 1.0
        assert params.get("N") == 64


def test_a_deep_copy_of_what_holds_an_open_scope_does_not_end_it(config):
    """LI-041"""
    with LegacyScope(config) as scope:
        copy.deepcopy({"scope": scope})["scope"].check()
        with pytest.raises(LegacyError, match="open in this process since"):
            copy.deepcopy(scope).__enter__()
        assert scope.is_open


def test_the_room_is_torch_free():
    """LI-060"""
    code = (
        "import sys, ptycho_dist.legacy; "
        "found = {'torch', 'lightning', 'h5py'} & set(sys.modules); assert not found, found"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG_S
    )
    assert done.returncode == 0, done.stderr
