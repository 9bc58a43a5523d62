"""What holds bin/fake-kai against the recordings of the real kai."""
