"""Training of one rank: Lightning module, data, callbacks, assembly. Needs torch (POLICY-001)."""

from ptycho_dist.runtime.torch_required import require_torch

require_torch()
