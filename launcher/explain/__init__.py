"""Why a run ended: `ptycho-launch explain`."""
