"""Which part of a series of synthetic pairs is of which kind, and the options of the commands for it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from model_core.errors import UserError

CEREBELLUM_SHARE = 0.5


@dataclass(frozen=True)
class Shares:
    """Parts of a series, 0 to 1 each; the pairs that are neither wide nor random have the contrast of six months.

    Attributes:
        wide: with contrasts over what other scanners and ages show.
        random: with any contrast.
        cerebellum: with cerebellum and brain stem in the images; their label is background.

    Raises:
        UserError: a share is not from 0 to 1, or wide and random together are more than 1.
    """

    wide: float = 0.0
    random: float = 0.0
    cerebellum: float = CEREBELLUM_SHARE

    def __post_init__(self) -> None:
        for name in ("wide", "random", "cerebellum"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"--{name}-share is {getattr(self, name)}; a share from 0 to 1 was expected; give one.")
        if self.wide + self.random > 1:
            raise UserError(
                f"--wide-share {self.wide} and --random-share {self.random} are more than all pairs together; at most "
                "1 in sum was expected; lower one."
            )


def add_shares(parser: argparse.ArgumentParser, condition: str = "") -> None:
    """Add ``--wide-share``, ``--random-share`` and ``--cerebellum-share`` to a command.

    Args:
        parser: of the command.
        condition: begins each help text.
    """
    usual = Shares()
    for name, default, what in (
        ("wide", usual.wide, "with contrasts drawn over what other scanners and ages show, instead of six months'"),
        ("random", usual.random, "with any contrast at all"),
        ("cerebellum", usual.cerebellum, "that show cerebellum and brain stem; their label stays background"),
    ):
        parser.add_argument(
            f"--{name}-share",
            type=float,
            default=default,
            metavar="SHARE",
            help=f"{condition}share of the pairs, 0 to 1, {what} (default {default:g})",
        )


def shares_of(options: argparse.Namespace) -> Shares:
    """Read the options of ``add_shares``.

    Raises:
        UserError: as ``Shares``.
    """
    return Shares(options.wide_share, options.random_share, options.cerebellum_share)
