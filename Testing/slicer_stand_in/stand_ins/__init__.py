"""Small stand-ins for Slicer's own Python modules, written for the stand-in; their public names are Slicer's."""
