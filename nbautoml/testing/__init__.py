"""For tests, ours and those of others: contract suites, servers, tiny real data."""
