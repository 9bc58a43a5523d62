"""The one way a value that somebody gave is refused: by naming its field, what was wrong and the remedy."""


class InvalidField(ValueError):
    """A value cannot be taken.

    `field` is its path in the body or file, such as `cluster_config.namespaces[2]`; `problem` says what was
    expected and never repeats a value that could be secret.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem
