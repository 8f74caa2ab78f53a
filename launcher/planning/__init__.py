"""From a config to its plan and its batch script; no cluster is asked."""
