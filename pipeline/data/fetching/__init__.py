"""Downloads of the real data sets, checked and unpacked."""
