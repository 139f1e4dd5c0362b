"""What trained networks learnt, as numbers; importing this package loads none of its modules."""
