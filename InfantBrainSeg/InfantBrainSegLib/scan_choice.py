"""Which scans a run needs: both, or one alone where the weights do with one; and why not."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from .card_text import NETWORK_NAMES
from .scene_volumes import describe_place_problem, describe_scan_problem

NO_T1, NO_T2 = _("Choose the T1 volume"), _("Choose the T2 volume")
T2_ALONE, T1_ALONE = _("None: T2 alone is segmented"), _("None: T1 alone is segmented")


def describe_scans_problem(
    t1: Any, t2: Any, mask: Any, card: dict[str, Any], *, raw: bool = False, align_t2: bool = False
) -> str:
    """Say why the scans that are chosen cannot be segmented, or return an empty text.

    Args:
        t1, t2: vtkMRMLScalarVolumeNode; one may be None for weights that do with one.
        mask: volume node or None.
        card: of the weights; empty while there is none that could be read.
        raw: whether they are as converted from DICOM.
        align_t2: whether T2 is to be moved onto T1.
    """
    if t1 is None and t2 is None:
        return _(
            "No T1 volume and no T2 volume is chosen; a scan of the head is needed, better both; load them and choose "
            "them under Inputs."
        )
    if t1 is None or t2 is None:
        problem = _why_both(card, "T1" if t1 is None else "T2", raw=raw, align_t2=align_t2)
        if problem:
            return problem
    given = [(node, name) for node, name in ((t1, "T1"), (t2, "T2")) if node is not None]
    problem = next(filter(None, (describe_scan_problem(node, name) for node, name in given)), "")
    if not problem and t1 is t2:
        problem = _("T1 and T2 are both {name}; two scans of one head are needed; choose another T2.").format(
            name=t1.GetName()
        )
    return problem or describe_place_problem([node for node, _name in given], mask)


def does_with_one(card: dict[str, Any]) -> bool:
    """Return whether weights take T1 or T2 alone."""
    return card.get("optional_scans") is True


def describe_scans(t1: Any, t2: Any) -> str:
    """Say what a run goes without, or return an empty text."""
    if (t1 is None) == (t2 is None):
        return ""
    given, missing = ("T2", "T1") if t1 is None else ("T1", "T2")
    return _("{given} alone will be segmented; choose {missing}, too, if there is one: the result is better.").format(
        given=given, missing=missing
    )


def show_what_is_missing(ui: Any, t1: Any, t2: Any, card: dict[str, Any]) -> None:
    """Let an empty selector say whether its scan is needed."""
    one_will_do = does_with_one(card)
    for selector, text in (
        (ui.t1Selector, T2_ALONE if one_will_do and t2 is not None else NO_T1),
        (ui.t2Selector, T1_ALONE if one_will_do and t1 is not None else NO_T2),
    ):
        if selector.noneDisplay != text:
            selector.noneDisplay = text


def _why_both(card: dict[str, Any], missing: str, *, raw: bool, align_t2: bool) -> str:
    if card and not does_with_one(card):
        network = card.get("network")
        sentence = _(
            "No {missing} volume is chosen; the weights of {network} need T1 and T2; choose it under Inputs, or under "
            "Model the fast network, which does with one scan."
        )
        return sentence.format(missing=missing, network=NETWORK_NAMES.get(network, network))
    if raw:
        return _(
            "No {missing} volume is chosen; raw scans need T1 and T2; choose it under Inputs, or strip the skull first "
            "and switch off “Raw scans”."
        ).format(missing=missing)
    if align_t2:
        return _(
            "No {missing} volume is chosen; aligning T2 needs T1 and T2; choose it under Inputs, or switch off “Align "
            "T2 to T1”."
        ).format(missing=missing)
    return ""
