# A stand-in for a build of Slicer, as far as a scripted extension sees one. It knows the arguments that Slicer's macros
# take, fails on every other one, copies and installs as they do, and writes what it was told into <build>/recorded.txt.
get_filename_component(_fake "${CMAKE_CURRENT_LIST_DIR}" ABSOLUTE)

set(Slicer_USE_FILE "${_fake}/UseSlicer.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${_fake}/SlicerExtensionGenerateConfig.cmake")
set(Slicer_EXTENSION_CPACK "${_fake}/SlicerExtensionCPack.cmake")
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR "lib/Slicer-5.12/qt-scripted-modules")
