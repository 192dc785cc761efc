"""What is done when a call, its worker or its job is lost. Pure."""
