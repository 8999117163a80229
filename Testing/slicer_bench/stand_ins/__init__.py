"""Small stand-ins for Slicer's own Python modules, written for the bench; their public names are Slicer's."""
