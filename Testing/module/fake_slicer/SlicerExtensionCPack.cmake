# Record what Slicer's Extensions Manager would show; a package needs it all.
fake_slicer_record(INCLUDED cpack)
foreach(name IN ITEMS NAME HOMEPAGE CATEGORY CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS STATUS DEPENDS
    RECOMMENDS KEYWORDS README_FILE LICENSE_FILE)
  if("${EXTENSION_${name}}" STREQUAL "")
    message(FATAL_ERROR "EXTENSION_${name} is not set")
  endif()
  fake_slicer_record("EXTENSION_${name}" "${EXTENSION_${name}}")
endforeach()
foreach(name IN ITEMS README_FILE LICENSE_FILE)
  if(NOT EXISTS "${EXTENSION_${name}}")
    message(FATAL_ERROR "EXTENSION_${name} points to ${EXTENSION_${name}}, which does not exist")
  endif()
endforeach()
