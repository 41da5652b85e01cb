"""A lab of two hosts with a bad network between them, in network namespaces of its own (namespaces(7))."""
