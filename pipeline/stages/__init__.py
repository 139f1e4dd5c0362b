"""One small script a stage; nobody imports them."""
