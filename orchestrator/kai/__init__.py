"""The kai binary: the only package that knows kai's files, flags, versions and messages."""
