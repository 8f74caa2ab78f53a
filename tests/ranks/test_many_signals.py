"""RS-010, guarantee G6: 500 signals with random skew between two ranks, and no hang."""

import json
import sys
from pathlib import Path

import fork_client
from waiting import HANG_S

PROGRAM = Path(__file__).with_name("signal_program.py")
DELIVERIES = 500


def test_500_deliveries_with_random_skew_never_hang_and_stop_at_one_step():
    done = fork_client.run(
        [sys.executable, str(PROGRAM), str(DELIVERIES), "1"],
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )
    stops = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(stops) == DELIVERIES, done.stderr[-3000:]
    assert not [stop for stop in stops if stop["hung"]]
    assert all(len(set(stop["steps"])) == 1 for stop in stops)
    alone = [stop for stop in stops if not stop["both"]]
    assert 50 < len(alone) < 450  # one rank alone is signalled often enough
