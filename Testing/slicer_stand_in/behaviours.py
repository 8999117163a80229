"""All behaviours of the stand-in classes; importing this module registers them."""

from . import (
    app_object,
    io_manager,
    layout,
    main_window,
    modules,
    views,
    widgets_ctk,
    widgets_mrml,
    widgets_numbers,
    widgets_segments,
    widgets_table,
)

MODULES = (
    app_object, io_manager, layout, main_window, modules, views,
    widgets_ctk, widgets_mrml, widgets_numbers, widgets_segments, widgets_table,
)  # fmt: skip
