"""The test vectors, one JSON file a case, and the generator that writes them."""
