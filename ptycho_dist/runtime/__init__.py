"""A rank's process beside its training: device, rendezvous, heartbeat, guard, local cluster."""
