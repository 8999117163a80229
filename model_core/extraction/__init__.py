"""The brain found in a whole head, by a network of our own."""
