"""Ways to change a module that several passes share."""
