"""What things are and the rules that hold for them: pure, without I/O, clock or framework."""
