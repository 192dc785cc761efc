"""Jobs: the states that each goes through, the polls that tell, the nodes to avoid. Pure."""
