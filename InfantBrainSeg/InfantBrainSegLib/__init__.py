"""The parts of the module Segment infant brain. Nothing here imports torch; that is the worker's."""
