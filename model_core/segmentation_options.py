"""What is asked of one segmentation: the same options for the command, a cohort, the worker and the panel.

Standard library only: Slicer's process reads them, too.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, field, fields
from typing import Any, Self

from model_core.errors import UserError
from model_core.windows import WHOLE_BRAIN

ORIENTATION, BIAS, ALIGNMENT, EXTRACTION = "orientation", "bias-correction", "alignment", "brain-extraction"
RAW_STEPS = (ORIENTATION, BIAS, ALIGNMENT, EXTRACTION)
BUILT_IN = "built-in"
SYNTHSTRIP, HD_BET = "synthstrip", "hd-bet"
TOOL_TITLES = {SYNTHSTRIP: "SynthStrip", HD_BET: "HD-BET"}
BRAIN_EXTRACTIONS = (BUILT_IN, *TOOL_TITLES)
OLDEST_MONTHS = 24.0  # of an age that the check of the volumes takes
WHOLE = "whole"  # as people write the overlap step ``WHOLE_BRAIN``


def overlap_step(text: str) -> int:
    """Read an overlap step, for argparse: voxels, or "whole" for the whole brain at once."""
    if text == WHOLE:
        return WHOLE_BRAIN
    if not text.isdecimal():  # what the network can run with is checked against its card
        raise argparse.ArgumentTypeError(f"{text!r} is no overlap step; expected voxels from 1 on, or whole")
    return int(text)


def _option(default: Any, help_text: str, **of_argparse: Any) -> Any:
    return field(default=default, metadata={"help": help_text, **of_argparse})


@dataclass(frozen=True, kw_only=True)
class SegmentationOptions:
    """How a pair of scans is made ready and segmented; a wrong value or combination is refused.

    Attributes:
        step: overlap step in voxels, or ``WHOLE_BRAIN``; None takes what the weights are best at. Their card
            tells which others they can run with.
        device: "auto", "cpu", "cuda", "cuda:1", … or "mps".
        align_t2: first move T2 onto T1, rigidly; only for prepared scans.
        bias_correction: first correct both bias fields by N4; only for prepared scans.
        raw: the scans are as converted from DICOM: the bias is corrected, T2 aligned, and the brain extracted.
        skip: steps of ``raw`` to leave out, of ``RAW_STEPS``.
        brain_extraction: what finds the brain in raw scans without a mask, of ``BRAIN_EXTRACTIONS``.
        age_months: at the scan, 0 to 24, for the check of the volumes; None where it is not known.

    Raises:
        UserError: a value is out of range, or options exclude each other.
    """

    step: int | None = _option(
        None,
        "voxels between windows, smaller is slower, or whole: the whole brain at once (default: what the weights are "
        "best at: whole for the fast U-Net, 8 for the published networks)",
        type=overlap_step,
    )
    device: str = _option("auto", "auto, cpu, cuda, cuda:1, … or mps (default: auto)")
    align_t2: bool = _option(False, "first move T2 onto T1, rigidly, by mutual information")
    bias_correction: bool = _option(False, "first correct both scans' bias fields by N4")
    raw: bool = _option(False, "the scans are as converted from DICOM: skull on, T2 in its own space")
    skip: tuple[str, ...] = _option(
        (), f"with --raw, leave out: {', '.join(RAW_STEPS)}", nargs="+", choices=RAW_STEPS, metavar="STEP"
    )
    brain_extraction: str = _option(
        BUILT_IN,
        "with --raw and without a mask: what finds the brain, the built-in network or a tool that is installed "
        "(default: built-in)",
        choices=BRAIN_EXTRACTIONS,
    )
    age_months: float | None = _option(
        None, "age at the scan, 0 to 24, for the check of the volumes", type=float, metavar="AGE"
    )

    def __post_init__(self) -> None:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", self.device):
            raise UserError(f"{self.device!r} is no device; expected auto, cpu, cuda, cuda:1, … or mps; name one.")
        if self.age_months is not None and not 0 <= self.age_months <= OLDEST_MONTHS:
            raise UserError(
                f"{self.age_months:g} is no age; expected 0 to {OLDEST_MONTHS:g} months; correct it, or leave it out."
            )
        unknown = [step for step in self.skip if step not in RAW_STEPS]
        if unknown:
            raise UserError(f"{unknown[0]!r} is no step to skip; expected {', '.join(RAW_STEPS)}; name one of these.")
        if self.brain_extraction not in BRAIN_EXTRACTIONS:
            raise UserError(
                f"{self.brain_extraction!r} is no brain extraction; expected {', '.join(BRAIN_EXTRACTIONS)}; choose "
                "one of these."
            )
        if self.raw and (self.align_t2 or self.bias_correction):
            raise UserError(
                "Raw scans were given with an alignment or bias correction of their own; expected --raw alone, which "
                "aligns T2 and corrects the bias by itself; leave out --align-t2 and --bias-correction."
            )
        if not self.raw and (self.skip or self.brain_extraction != BUILT_IN):
            raise UserError(
                "--skip or --brain-extraction was given for scans that are not raw; expected --raw, whose steps they "
                "are; give it, too, or leave them out."
            )

    @property
    def repairs(self) -> bool:
        """Whether scans are corrected or moved, which takes memory."""
        return self.raw or self.align_t2 or self.bias_correction

    def check_given(self, *, t1: bool, t2: bool) -> None:
        """Say whether these options can do with the scans that there are.

        Raises:
            UserError: there is none, or one alone where both are needed.
        """
        if not (t1 or t2):
            raise UserError("No scan was given; expected T1 and T2, or one of them; choose at least one.")
        if not (t1 and t2) and (self.raw or self.align_t2):
            raise UserError(
                "One scan alone was given; raw scans and the alignment of T2 need both; give T1 and T2, or strip the "
                "skull first and switch these off."
            )

    def as_arguments(self) -> list[str]:
        """Write what differs from the defaults as a command line."""
        words: list[str] = []
        for option in fields(self):
            value = getattr(self, option.name)
            if value == option.default:
                continue
            words.append(flag_of(option.name))
            if isinstance(value, tuple):
                words += value
            elif option.name == "step":
                words.append(WHOLE if value == WHOLE_BRAIN else str(value))
            elif value is not True:
                words.append(str(value))
        return words

    @classmethod
    def from_arguments(cls, namespace: argparse.Namespace) -> Self:
        """Take the options from parsed arguments; what these lack keeps its default."""
        named = [option.name for option in fields(cls) if option.name in namespace]
        given: dict[str, Any] = {name: getattr(namespace, name) for name in named}
        given |= {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
        return cls(**given)


def flag_of(name: str) -> str:
    """How an option is written on a command line."""
    return f"--{name.replace('_', '-')}"


def add_arguments(parser: argparse.ArgumentParser, *, leave_out: tuple[str, ...] = ()) -> None:
    """Let a command take the options, but for those left out."""
    for option in fields(SegmentationOptions):
        if option.name in leave_out:
            continue
        how: dict[str, Any] = dict(option.metadata) | {"default": option.default}
        if option.default is False:
            how["action"] = "store_true"
        parser.add_argument(flag_of(option.name), **how)
