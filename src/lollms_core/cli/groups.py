"""A command that has commands of its own, as ``lollms profiles``: without one it runs the one called list."""

from __future__ import annotations

import click

__all__ = ["Commands"]


class Commands(click.Group):
    """A group that tells a wrong name with those close to it."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, *rest = args
        command = self.get_command(ctx, name)
        if command is None and not ctx.resilient_parsing:
            from lollms_core.discovery.reports import scrub
            from lollms_core.errors import close_names

            # What is given in the wrong place may be a key.
            ctx.fail(f"{ctx.command_path} has no command {scrub(repr(name))}.{close_names(name, self.commands)}")
        return name if command else None, command, rest

    def invoke(self, ctx: click.Context) -> object:
        result = super().invoke(ctx)
        return ctx.invoke(self.commands["list"]) if ctx.invoked_subcommand is None else result
