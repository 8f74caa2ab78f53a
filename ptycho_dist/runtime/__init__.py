"""What the process of a rank stands on: device, rendezvous, heartbeat, guard, local cluster."""
