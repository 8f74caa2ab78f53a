"""Prints an explanation for people."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from launcher.explain.explain import Explanation, named_ranks


def show_explanation(explanation: Explanation, console: Console) -> None:
    """Print the cause, the first rank, the evidence and what to do. No text is taken for markup."""

    def say(text: str, style: str = "") -> None:
        console.print(Text(text, style=style), soft_wrap=not console.is_terminal)

    of = f", attempt {explanation.attempt} of {explanation.attempts}" if explanation.attempt else ""
    say(f"{explanation.run_id}: {explanation.state}{of}", "bold")
    say(f"  {explanation.headline}")
    if explanation.how is not None and not explanation.together:
        at = "" if explanation.step is None else f" at step {explanation.step}"
        followers = explanation.followers
        others = f"; {named_ranks(followers)} failed only because of it" if followers else ""
        say(f"  rank {explanation.first_rank}{at}: {explanation.how}{others}")
    if explanation.exit_code:
        say(f"  exit code {explanation.exit_code}")
    if explanation.what_followed:
        restarted = "restarted" if explanation.restarts else "not restarted"
        say(f"  {restarted}: {explanation.what_followed}")
    if explanation.evidence:
        say("evidence")
        for line in explanation.evidence:
            say(f"  {line.where}  {line.text}")
    say("what to do")
    for advice in explanation.advice:
        say(f"  - {advice}")
