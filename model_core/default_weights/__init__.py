"""How the weights that ship are made, scored and described."""
