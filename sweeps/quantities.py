"""Numbers and durations as people write them."""


def short(number: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"


def duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    )


def seconds_of(text: str) -> float:
    """ "90", "90s", "30min" or "2h" as seconds. Raises ValueError."""
    for unit, size in (("min", 60), ("h", 3600), ("d", 86400), ("s", 1), ("", 1)):
        if text.endswith(unit):
            try:
                found = float(text.removesuffix(unit).strip()) * size
            except ValueError:
                break
            if 0 < found < float("inf"):
                return found
            break
    raise ValueError(f"{text!r} is no time: 90s, 30min, 2h")
