"""What surrounds a rank's training: device, rendezvous, heartbeat, guard, local cluster."""
