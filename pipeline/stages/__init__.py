"""One small script for each stage; nobody imports them."""
