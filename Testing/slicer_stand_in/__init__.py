"""A stand-in for the 3D Slicer application: real MRML, VTK and Qt from wheels, Slicer's Python rules kept strictly.

    from Testing.slicer_stand_in import application
    stand-in = application.start()
    module = stand-in.load_module("InfantBrainSeg/InfantBrainSeg.py")

The switches below have to stand before the first import of PySide6 and VTK, so they stand here.
"""

import ctypes
import os
import sys

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")  # VTK draws without a display
os.environ.setdefault("QT_SCALE_FACTOR_ROUNDING_POLICY", "PassThrough")

ENUMS_BEHAVE_AS_INTEGERS = 0x2
ENUMS_HANG_ON_THEIR_CLASS = 0x8
# PythonQt's enums are integers (`state == qt.Qt.Checked` holds for an int); PySide6 has a switch for it.
sys.pyside6_option_python_enum = ENUMS_BEHAVE_AS_INTEGERS | ENUMS_HANG_ON_THEIR_CLASS

# PySide6's functions without a result return None without counting it, which is right from Python 3.12 on, where None
# is immortal; before that its count falls call by call, and at 0 Python ends. A high count makes None immortal enough.
if sys.version_info < (3, 12):
    ctypes.c_ssize_t.from_address(id(None)).value += 1 << 40
