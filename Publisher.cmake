# What only a publisher of the extension can know. Edit the defaults or give them to CMake:
#   cmake -DInfantBrainSeg_HOMEPAGE=https://github.com/OWNER/REPOSITORY "-DInfantBrainSeg_CONTRIBUTORS=NAME (PLACE)" …
# With a home page on GitHub the addresses of icon and screenshots follow from it.

set(InfantBrainSeg_HOMEPAGE "https://example.org/InfantBrainSeg" CACHE STRING "Web page of the extension")
set(InfantBrainSeg_CONTRIBUTORS "The InfantBrainSeg contributors" CACHE STRING "Names (affiliations), comma-separated")
set(InfantBrainSeg_STATUS "Development" CACHE STRING "Development, Beta or Release")
set(InfantBrainSeg_FILES_URL "" CACHE STRING "Address of the repository's files; empty: HOMEPAGE/raw/main")
set(InfantBrainSeg_ICONURL "" CACHE STRING "Address of the icon; empty: the one of the repository")
set(InfantBrainSeg_SCREENSHOTURLS "" CACHE STRING "Addresses, space-separated; empty: those of the repository")

set(EXTENSION_HOMEPAGE "${InfantBrainSeg_HOMEPAGE}")
set(EXTENSION_CONTRIBUTORS "${InfantBrainSeg_CONTRIBUTORS}")
set(EXTENSION_STATUS "${InfantBrainSeg_STATUS}")

set(_files "${InfantBrainSeg_FILES_URL}")
if(_files STREQUAL "")
  set(_files "${InfantBrainSeg_HOMEPAGE}/raw/main")
endif()

set(EXTENSION_ICONURL "${InfantBrainSeg_ICONURL}")
if(EXTENSION_ICONURL STREQUAL "")
  set(EXTENSION_ICONURL "${_files}/InfantBrainSeg/Resources/Icons/InfantBrainSeg.png")
endif()

set(EXTENSION_SCREENSHOTURLS "${InfantBrainSeg_SCREENSHOTURLS}")
if(EXTENSION_SCREENSHOTURLS STREQUAL "")
  set(EXTENSION_SCREENSHOTURLS
    "${_files}/Resources/screenshots/panel.png ${_files}/Resources/screenshots/demo.png")
endif()
