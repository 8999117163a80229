"""What the ctk widgets of a panel do: paths, collapsible sections, boxes."""

import os

from PySide6 import QtCore, QtGui, QtWidgets

from .classes import behaviour, internal
from .widgets_numbers import row_of

# Pixels, as measured in Slicer: a section's head, what a folded one keeps below it, a folded group box.
SECTION_HEIGHT, COLLAPSED_HEIGHT, FOLDED_BOX = 24, 14, 33
ARROW = 9
NO_LIMIT = (1 << 24) - 1  # pixels; Qt's word for any height


@behaviour("ctkPathLineEdit")
class PathLineEdit:
    """An editable path with a browse button."""

    def initialise(self) -> None:
        self._state.part = internal(QtWidgets.QComboBox())
        self._state.part.setEditable(True)
        self._state.part.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Fixed)
        self._state.part.setMinimumContentsLength(8)
        self._state.part.editTextChanged.connect(self._text_changed)
        browse = internal(QtWidgets.QToolButton())
        browse.setText("…")
        self._state.browse = browse
        layout = row_of(self)
        layout.addWidget(self._state.part, 1)
        layout.addWidget(browse)

    def _text_changed(self, text: str) -> None:
        self._emit("currentPathChanged(QString)", text)
        self._emit("validInputChanged(bool)", bool(text) and os.path.exists(text))

    currentPath = property(
        lambda self: self._state.part.currentText(), lambda self, path: self._state.part.setEditText(path)
    )
    showBrowseButton = property(
        lambda self: not self._state.browse.isHidden(), lambda self, on: self._state.browse.setVisible(bool(on))
    )

    def setCurrentPath(self, path: str) -> None:
        self.currentPath = path

    def comboBox(self) -> QtWidgets.QComboBox:
        return self._state.part

    def addCurrentPathToHistory(self) -> None:
        self._state.part.addItem(self._state.part.currentText())


@behaviour("ctkDirectoryButton")
class DirectoryButton:
    def initialise(self) -> None:
        self._state.directory = ""
        self._state.part = internal(QtWidgets.QPushButton())
        row_of(self).addWidget(self._state.part)

    def _choose(self, path: str) -> None:
        path = os.path.abspath(path) if path not in ("", ".") else path
        if path != self._state.directory:
            self._state.directory = path
            self._state.part.setText(path)
            self._emit("directoryChanged(QString)", path)

    directory = property(lambda self: self._state.directory, lambda self, path: self._choose(path))


@behaviour("ctkColorPickerButton")
class ColorPickerButton:
    def initialise(self) -> None:
        self._state.color = QtGui.QColor(0, 0, 0)

    def _choose(self, color: QtGui.QColor) -> None:
        if color != self._state.color:
            self._state.color = QtGui.QColor(color)
            self._emit("colorChanged(QColor)", self._state.color)

    color = property(lambda self: self._state.color, lambda self, color: self._choose(color))

    def setColor(self, color: QtGui.QColor) -> None:
        self._choose(color)


def _draw_head(widget: QtWidgets.QWidget, text: str, collapsed: bool) -> None:
    """Draw the head of a collapsible section: an arrow and a bold title on a bar."""
    painter = QtGui.QPainter(widget)
    painter.setRenderHint(QtGui.QPainter.Antialiasing)
    bar = QtCore.QRect(0, 0, QtWidgets.QWidget.width(widget), SECTION_HEIGHT - 2)
    painter.setPen(QtCore.Qt.NoPen)
    painter.setBrush(QtGui.QColor(222, 225, 230))
    painter.drawRoundedRect(bar, 3, 3)
    middle = bar.center().y() + 0.5
    x = 8.0
    points = [(x + 1, middle - ARROW / 2), (x + 1 + ARROW / 1.6, middle), (x + 1, middle + ARROW / 2)]
    if not collapsed:
        points = [(x, middle - ARROW / 3.2), (x + ARROW, middle - ARROW / 3.2), (x + ARROW / 2, middle + ARROW / 3.2)]
    painter.setBrush(QtGui.QColor(70, 74, 80))
    painter.drawPolygon([QtCore.QPointF(*point) for point in points])
    font = QtWidgets.QWidget.font(widget)
    font.setBold(True)
    painter.setFont(font)
    painter.setPen(QtGui.QColor(30, 32, 36))
    painter.drawText(bar.adjusted(24, 0, 0, 0), QtCore.Qt.AlignVCenter, text.replace("&&", "&"))
    painter.end()


def _draw_frame(widget: QtWidgets.QWidget, rectangle: QtCore.QRect) -> None:
    painter = QtGui.QPainter(widget)
    painter.setPen(QtGui.QColor(190, 193, 198))
    painter.drawRect(rectangle)
    painter.end()


class _ChildWatch(QtCore.QObject):
    """Notes whether a child of a section is wished to be shown, and keeps it hidden while the section is folded."""

    def eventFilter(self, child: QtCore.QObject, event: QtCore.QEvent) -> bool:
        section = self.parent()
        if event.type() in (QtCore.QEvent.ShowToParent, QtCore.QEvent.HideToParent) and not section._state.forcing:
            shown = event.type() == QtCore.QEvent.ShowToParent
            section._state.hidden.discard(child) if shown else section._state.hidden.add(child)
            section._show_child(child)
        return False


@behaviour("ctkCollapsibleButton")
class CollapsibleButton:
    """A section with a head that shows or hides what is in it; folded, it keeps `collapsedHeight` below its head."""

    def initialise(self) -> None:
        state = self._state
        state.collapsed, state.forcing, state.hidden = False, False, set()
        state.values["collapsedHeight"] = COLLAPSED_HEIGHT
        state.watch = internal(_ChildWatch(self))
        QtWidgets.QWidget.setContentsMargins(self, 0, SECTION_HEIGHT, 0, 0)
        QtWidgets.QWidget.setSizePolicy(self, QtWidgets.QSizePolicy.Minimum, QtWidgets.QSizePolicy.Preferred)
        QtWidgets.QAbstractButton.setCheckable(self, True)
        QtWidgets.QAbstractButton.setChecked(self, True)
        QtCore.QObject.connect(self, QtCore.SIGNAL("toggled(bool)"), lambda on: self._fold(not on))

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        child = event.child()
        if event.type() == QtCore.QEvent.ChildPolished and isinstance(child, QtWidgets.QWidget):
            if QtWidgets.QWidget.isHidden(child) and not self._state.collapsed:
                self._state.hidden.add(child)
            child.installEventFilter(self._state.watch)
            self._show_child(child)

    def _show_child(self, child: QtWidgets.QWidget) -> None:
        self._state.forcing = True
        QtWidgets.QWidget.setVisible(child, not self._state.collapsed and child not in self._state.hidden)
        self._state.forcing = False

    def _fold(self, collapsed: bool) -> None:
        if bool(collapsed) == self._state.collapsed:
            return
        self._state.collapsed = bool(collapsed)
        largest = CollapsibleButton.sizeHint(self).height() if collapsed else NO_LIMIT
        QtWidgets.QWidget.setMaximumHeight(self, largest)
        for child in [c for c in QtCore.QObject.children(self) if isinstance(c, QtWidgets.QWidget)]:
            self._show_child(child)
        QtWidgets.QWidget.updateGeometry(self)
        QtWidgets.QAbstractButton.setChecked(self, not collapsed)
        self._emit("contentsCollapsed(bool)", self._state.collapsed)

    collapsed = property(lambda self: self._state.collapsed, lambda self, on: self._fold(on))

    def _folded_size(self) -> QtCore.QSize:
        text = QtWidgets.QWidget.fontMetrics(self).horizontalAdvance(QtWidgets.QAbstractButton.text(self))
        return QtCore.QSize(text + 2 * SECTION_HEIGHT, SECTION_HEIGHT + self._state.values["collapsedHeight"])

    def sizeHint(self) -> QtCore.QSize:
        layout = QtWidgets.QWidget.layout(self)
        if layout is None or self._state.collapsed:
            return self._folded_size()
        return layout.totalSizeHint().expandedTo(self._folded_size())

    def minimumSizeHint(self) -> QtCore.QSize:
        layout = QtWidgets.QWidget.layout(self)
        if layout is None or self._state.collapsed:
            return self._folded_size()
        return layout.totalMinimumSize().expandedTo(QtCore.QSize(self._folded_size().width(), SECTION_HEIGHT))

    def paintEvent(self, _: QtGui.QPaintEvent) -> None:
        _draw_head(self, QtWidgets.QAbstractButton.text(self), self._state.collapsed)
        if self._state.values.get("contentsFrameShape"):
            _draw_frame(self, QtWidgets.QWidget.rect(self).adjusted(0, SECTION_HEIGHT, -1, -1))

    def hitButton(self, position: QtCore.QPoint) -> bool:
        return position.y() < SECTION_HEIGHT


@behaviour("ctkCollapsibleGroupBox")
class CollapsibleGroupBox:
    """A group box whose check mark folds it; folded, its empty frame stays."""

    def initialise(self) -> None:
        QtWidgets.QGroupBox.setCheckable(self, True)
        QtWidgets.QGroupBox.setChecked(self, True)
        QtCore.QObject.connect(self, QtCore.SIGNAL("toggled(bool)"), self._toggled)

    def _toggled(self, on: bool) -> None:
        for child in QtCore.QObject.children(self):
            if isinstance(child, QtWidgets.QWidget):
                QtWidgets.QWidget.setVisible(child, on)
        QtWidgets.QWidget.setMaximumHeight(self, NO_LIMIT if on else FOLDED_BOX)

    collapsed = property(
        lambda self: not QtWidgets.QGroupBox.isChecked(self),
        lambda self, on: QtWidgets.QGroupBox.setChecked(self, not on),
    )


@behaviour("ctkComboBox")
class ComboBox:
    def _user_data(self) -> str:
        data = QtWidgets.QComboBox.currentData(self)
        return "" if data is None else str(data)

    def _choose(self, text: str) -> None:
        for index in range(QtWidgets.QComboBox.count(self)):
            if str(QtWidgets.QComboBox.itemData(self, index)) == text:
                QtWidgets.QComboBox.setCurrentIndex(self, index)

    currentUserDataAsString = property(lambda self: self._user_data(), lambda self, text: self._choose(text))


@behaviour("ctkFittedTextBrowser")
class FittedTextBrowser:
    def setCollapsibleText(self, text: str) -> None:
        QtWidgets.QTextBrowser.setText(self, text)
        self._state.text = text

    def collapsibleText(self) -> str:
        return self._state.text

    def setCollapsibleHtml(self, text: str) -> None:
        self.setCollapsibleText(text)

    def setCollapsiblePlainText(self, text: str) -> None:
        QtWidgets.QTextBrowser.setPlainText(self, text)
        self._state.text = text
