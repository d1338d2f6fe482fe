"""`python -m mlperf keygen`: the key pair of somebody who verifies."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from leaderboard import signing
from mlperf.commands.terminal import add_command

if TYPE_CHECKING:
    from mlperf.commands.terminal import Commands

EXAMPLES = """\
  python -m mlperf keygen                                 a key pair to sign what `verify` finds
  python -m mlperf keygen --out course.pem                the same, kept there
"""


def default_key() -> Path:
    """The user's private key, in the folder for settings."""
    settings = os.environ.get("APPDATA") if os.name == "nt" else os.environ.get("XDG_CONFIG_HOME")
    return (Path(settings) if settings else Path.home() / ".config") / "mlperf" / "verify.pem"


def add_parser(commands: Commands) -> None:
    """Add `keygen` to the command line."""
    command = add_command(commands, "keygen", "make the key pair that signs verifications", EXAMPLES)
    command.add_argument("--out", type=Path, metavar="FILE", help=f"the private key (default: {default_key()})")


def run(options: argparse.Namespace) -> int:
    """Make the pair, say where it is and what each half is for."""
    path = options.out or default_key()
    key = signing.generate(path)
    print(f"private key  {path}  (keep it: whoever has it signs in your name)")
    print(f"public key   {signing.public_file(path)}  (give it to those who check your records)\n")
    line = {"private_key": str(path), "public_key_file": str(signing.public_file(path)), "public_key": key}
    print(json.dumps(line, separators=(",", ":")), flush=True)
    return 0
