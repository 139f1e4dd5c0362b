"""AP by class: what its metrics are called, and below how many objects it says nothing."""

LEAST = 30  # objects of a class or a size


def class_metric(category: str) -> str:
    """Return the name of the AP of a class, from its id as text."""
    return f"ap_class_{category}"
