"""The machine: command line, processes, devices, locks, files. Knows no medicine."""
