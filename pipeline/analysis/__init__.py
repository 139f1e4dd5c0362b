"""What trained networks learnt, as numbers; importing this package loads nothing, its modules are taken one by one."""
