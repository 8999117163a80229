"""What a person should look at: checks of the scans before, of the label map after."""
