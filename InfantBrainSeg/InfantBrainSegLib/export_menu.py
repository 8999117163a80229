"""The button Export with its menu: what can be written, and why something cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from .errors import SegmentationError
from .export import export_dicom, export_nifti, why_no_dicom, why_no_export

NIFTI_SUFFIXES = (".nii.gz", ".nii")


class ExportMenu:
    """Asks where to write, and writes.

    Args:
        button: QPushButton that gets the menu.
        chosen: called for the segmentation node, or None.
        isUntouched: called with it; whether its segments are as a run has left them.
        onTold: called with a sentence, and whether it tells of a failure.
    """

    def __init__(
        self,
        button: Any,
        chosen: Callable[[], Any],
        isUntouched: Callable[[Any], bool],
        onTold: Callable[[str, bool], Any],
    ) -> None:
        self._chosen, self._isUntouched, self._onTold = chosen, isUntouched, onTold
        self._menu = qt.QMenu(button)
        self._menu.setToolTipsVisible(True)
        self.nifti = self._menu.addAction(_("NIfTI…"))
        self.dicom = self._menu.addAction(_("DICOM SEG…"))
        self.nifti.connect("triggered()", self.write_nifti)
        self.dicom.connect("triggered()", self.write_dicom)
        self._menu.connect("aboutToShow()", self.refresh)
        button.setMenu(self._menu)
        self.refresh()

    def refresh(self) -> None:
        """Let each entry say whether it can be used, or why not."""
        node = self._chosen()
        for action, title, reason in (
            (self.nifti, _("NIfTI…"), why_no_export(node)),
            (self.dicom, _("DICOM SEG…"), why_no_dicom(node)),
        ):
            action.enabled = not reason
            action.text = f"{title} ({reason.split(';')[0].rstrip('.')})" if reason else title
            action.toolTip = reason or title

    def write_nifti(self) -> None:
        """Ask for a file, and write labels 0 to 3."""
        node = self._chosen()
        path = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(), _("Export as NIfTI"), f"{node.GetName()}.nii.gz", "NIfTI (*.nii.gz *.nii)"
        )
        if path:
            suffix = "" if path.endswith(NIFTI_SUFFIXES) else NIFTI_SUFFIXES[0]
            self._write(lambda: export_nifti(node, Path(path + suffix)), path + suffix)

    def write_dicom(self) -> None:
        """Ask for a folder, and write a DICOM SEG."""
        node = self._chosen()
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Folder for the DICOM SEG"))
        if folder:
            untouched = self._isUntouched(node)
            self._write(lambda: export_dicom(node, Path(folder), is_untouched=untouched), folder)

    def _write(self, write: Callable[[], Any], place: str) -> None:
        try:
            with slicer.util.WaitCursor():
                write()
        except SegmentationError as error:
            self._onTold(str(error), True)
        else:
            self._onTold(_("Written to {place}.").format(place=place), False)
