"""A user's own data: which method helps on it."""
