"""Draws the pictures of the README's five steps, on the stand-in.

    STEPS=demo python -m Testing.slicer_stand_in.run_panel --module InfantBrainSeg \
      --script Testing/module/step_pictures.py --picture demo/panel.png --size 1600x1000

Writes step-1-load.png to step-5-results.png into the folder STEPS; look at them, then copy them to
Resources/screenshots.
"""

import os
from pathlib import Path

from InfantBrainSegLib.sample_data import load_sample
from PySide6 import QtCore, QtGui, QtWidgets

stand_in, panel = globals()["stand_in"], globals()["panel"]  # set by run_panel
FOLDER = Path(os.environ["STEPS"])
WINDOW = (1600, 1000)
LIMIT_SECONDS = 3600
MARGIN = 6  # pixels around what is cut out
WIDEST = 640  # pixels


def place(*widgets: QtWidgets.QWidget) -> QtCore.QRect:
    """Return the part of the window that holds these widgets."""
    part = QtCore.QRect()
    for widget in widgets:
        corner = QtWidgets.QWidget.mapTo(widget, stand_in.window, QtCore.QPoint(0, 0))
        part = part.united(QtCore.QRect(corner, QtWidgets.QWidget.size(widget)))
    return part.adjusted(-MARGIN, -MARGIN, MARGIN, MARGIN)


def take(name: str, part: QtCore.QRect) -> None:
    """Write this part of the window."""
    path = stand_in.picture(FOLDER / name, size=WINDOW)
    window = QtGui.QImage(str(path))
    picture = window.copy(part.intersected(window.rect()))
    if picture.width() > WIDEST:
        picture = picture.scaledToWidth(WIDEST, QtCore.Qt.SmoothTransformation)
    picture.save(str(path))


def segment(step: int) -> object:
    """Press the button with an overlap step; return the job that then runs."""
    panel.panel.parameters.overlapStep = step
    panel.ui.segmentButton.click()
    return panel.panel.job


ui = panel.ui
*_, reference = load_sample()
stand_in.pump(lambda: "looking" not in ui.deviceComboBox.currentText, seconds=60)
views = place(QtWidgets.QMainWindow.centralWidget(stand_in.window))
views.setLeft(place(ui.inputsCollapsibleButton).right())
take("step-1-load.png", views)

panel.panel.parameters.reference = reference
take("step-2-inputs.png", place(ui.inputsCollapsibleButton))
take("step-3-model.png", place(ui.modelCollapsibleButton, ui.settingsCollapsibleButton))

job = segment(16)
stand_in.pump(lambda: job.canKeep and 4 * job.progress.windows_done > job.progress.windows_total, seconds=LIMIT_SECONDS)
take("step-4-segment.png", place(ui.segmentButton, ui.keepButton, ui.progressBar, ui.statusLabel))
job.cancel()
stand_in.pump(lambda: job.isFinished, seconds=LIMIT_SECONDS)

job = segment(0)
stand_in.pump(lambda: job.isFinished, seconds=LIMIT_SECONDS)
stand_in.pump(lambda: panel.panel.scoringJob.isFinished, seconds=LIMIT_SECONDS)
ui.show3DButton.click()
stand_in.pump(seconds=1)  # the sentence below the table breaks into two lines
take("step-5-results.png", place(ui.resultsCollapsibleButton))
