"""The state of all random generators of a rank as one tensor, which a checkpoint can hold.

The states are numbers and are written as JSON, without pickle.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
from typing import cast

import numpy as np
import torch

ROOM = 16_384
"""Bytes for the state of one rank: about 7 kB for torch's generator, 3.4 kB each for the others."""


def rng_state(device: torch.device) -> torch.Tensor:
    """Return the state of the generators of Python, NumPy, torch and the GPU, as (ROOM,) uint8."""
    name, keys, position, has_gauss, cached = _numpy_state()
    version, numbers, gauss = random.getstate()
    state = {
        "python": [version, _text(np.array(numbers, np.uint32)), gauss],
        "numpy": [name, _text(keys), position, has_gauss, cached],
        "torch": _text(torch.get_rng_state().numpy()),
        "device": _text(torch.cuda.get_rng_state(device).numpy()) if _is_gpu(device) else None,
    }
    packed = json.dumps(state, separators=(",", ":")).encode()
    padded = np.zeros(ROOM, np.uint8)
    padded[: len(packed)] = np.frombuffer(packed, np.uint8)
    return torch.from_numpy(padded)


def seed_rng(seed: int) -> None:
    """Seed all generators, the same on every rank."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def rng_parts() -> dict[str, str]:
    """Return a short digest of the state of each generator on the CPU, for comparison."""
    name, keys, position, has_gauss, cached = _numpy_state()
    states: dict[str, bytes] = {
        "Python": repr(random.getstate()).encode(),
        "NumPy": keys.tobytes() + repr((name, position, has_gauss, cached)).encode(),
        "torch": torch.get_rng_state().numpy().tobytes(),
    }
    return {name: hashlib.sha256(state).hexdigest()[:16] for name, state in states.items()}


def restore_rng(packed: torch.Tensor, device: torch.device) -> None:
    """Restore a state that `rng_state` returned.

    Raises:
        ValueError, KeyError, TypeError: it is not such a state.
    """
    state = json.loads(bytes(packed.numpy()).rstrip(b"\0").decode())
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(_array(numbers, np.uint32).tolist()), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, _array(keys, np.uint32), position, has_gauss, cached))
    torch.set_rng_state(torch.from_numpy(_array(state["torch"], np.uint8)))
    if state["device"] is not None and _is_gpu(device):
        torch.cuda.set_rng_state(torch.from_numpy(_array(state["device"], np.uint8)), device)


def _numpy_state() -> tuple[str, np.ndarray, int, int, float]:
    state = np.random.get_state(legacy=True)
    return cast(tuple[str, np.ndarray, int, int, float], state)


def _is_gpu(device: torch.device) -> bool:
    return device.type == "cuda"


def _text(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()


def _array(text: str, dtype: type[np.generic]) -> np.ndarray:
    return np.frombuffer(bytearray(base64.b64decode(text)), dtype)
