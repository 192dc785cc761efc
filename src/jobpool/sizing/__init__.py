"""What measured calls used, and the request that follows. Pure: it knows the vocabulary alone."""
