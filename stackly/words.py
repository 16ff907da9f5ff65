"""How sentences count. Pure."""


def counted(n: int, one: str, more: str | None = None) -> str:
    """Shape: `1 approval`, `2 approvals`; `more` where no s makes the plural."""
    return f"{n} {one if n == 1 else more or f'{one}s'}"
