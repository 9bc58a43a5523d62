"""What may be done, and by whom: each use case takes the caller, checks what they may, and calls the store."""
