"""`benchsuite completion`: the script that lets a shell complete verbs and options."""

from __future__ import annotations

import click


@click.command(
    epilog="""\b
Examples:
  benchsuite completion bash > ~/.local/share/bash-completion/completions/benchsuite
  echo 'eval "$(benchsuite completion zsh)"' >> ~/.zshrc
  benchsuite completion fish > ~/.config/fish/completions/benchsuite.fish
"""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script for a shell; the examples say where it goes."""
    from click.shell_completion import get_completion_class

    from benchsuite.cli.main import cli

    script = get_completion_class(shell)
    assert script is not None
    click.echo(script(cli, {}, "benchsuite", "_BENCHSUITE_COMPLETE").source())
