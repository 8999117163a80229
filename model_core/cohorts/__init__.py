"""Many subjects: a BIDS data set, segmented and reported on."""
