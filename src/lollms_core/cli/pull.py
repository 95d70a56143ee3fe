"""``lollms pull``: a model is fetched to where its backend keeps them."""

from __future__ import annotations

import time

import click

from lollms_core.cli.help import examples
from lollms_core.cli.options import Wanted, binding_without_model_options

__all__ = ["pull"]


@click.command(
    epilog=examples(
        "lollms pull llama3.2 -b ollama",
        "lollms pull hf:OWNER/REPO:Q4_K_M -b llamacpp",
    )
)
@click.argument("name")
@binding_without_model_options
def pull(wanted: Wanted, name: str) -> None:
    """Fetch the model NAME; after Ctrl-C, the next try goes on from what has come."""
    from lollms_core.cli.fetching import shown
    from lollms_core.cli.figures import bytes_of, time_of
    from lollms_core.cli.opening import open_without_model
    from lollms_core.cli.terminal import say

    begun = time.monotonic()
    with open_without_model(wanted) as binding:
        news = None
        try:
            with shown() as news:
                binding.pull(name, progress=news)
        except KeyboardInterrupt:
            told = f" at {news.latest}" if news is not None and news.latest else ""
            say(f"stopped{told}; pull it again to go on")
            raise
        if news.fetched:
            say(f"fetched {name}: {bytes_of(news.fetched)} in {time_of(time.monotonic() - begun)}")
        else:
            say(f"{name} is there")
