"""The sizes of Slicer's widgets, as measured on Linux (Qt 5.15, Sans Serif 9), on top of Qt 6's Fusion style."""

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

LINE_HEIGHT = 17  # pixels of a label of one line
FONT_POINTS, FONT_STRETCH = 10.6, 85  # lines of that height, and letters as wide as those of Slicer's 9 points
HEIGHTS = {  # pixels of a widget with one line in it
    QtWidgets.QStyle.CT_PushButton: 25,
    QtWidgets.QStyle.CT_ComboBox: 25,
    QtWidgets.QStyle.CT_SpinBox: 26,
    QtWidgets.QStyle.CT_CheckBox: 23,
    QtWidgets.QStyle.CT_RadioButton: 23,
}
TABLE_ROW = 30  # pixels of a table's row, unless the table says otherwise


class SlicerStyle(QtWidgets.QProxyStyle):
    """Fusion with the heights of Slicer's widgets."""

    def sizeFromContents(self, kind: Any, option: Any, size: QtCore.QSize, widget: Any = None) -> QtCore.QSize:
        wanted = super().sizeFromContents(kind, option, size, widget)
        if kind in HEIGHTS and size.height() < 2 * LINE_HEIGHT:
            wanted.setHeight(HEIGHTS[kind])
        return wanted

    def pixelMetric(self, metric: Any, option: Any = None, widget: Any = None) -> int:
        if metric == QtWidgets.QStyle.PM_HeaderDefaultSectionSizeVertical:
            return TABLE_ROW
        return super().pixelMetric(metric, option, widget)


def put_on(application: Any) -> None:
    """Give the application Slicer's style, colours and font."""
    style = SlicerStyle("Fusion")
    style.setParent(application)
    QtWidgets.QApplication.setStyle(style)
    palette = QtGui.QPalette(QtGui.QColor(239, 240, 242))
    palette.setColor(QtGui.QPalette.Base, QtGui.QColor(255, 255, 255))
    palette.setColor(QtGui.QPalette.Highlight, QtGui.QColor(61, 122, 196))
    palette.setColor(QtGui.QPalette.HighlightedText, QtGui.QColor(255, 255, 255))
    QtWidgets.QApplication.setPalette(palette)
    font = QtGui.QFont("DejaVu Sans")
    font.setPointSizeF(FONT_POINTS)
    font.setStretch(FONT_STRETCH)
    QtWidgets.QApplication.setFont(font)
