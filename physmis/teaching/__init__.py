"""For reading with one's hands: sliders that redraw a figure, and exercises that check themselves."""

from physmis.teaching.widgets import check, explore

__all__ = ["check", "explore"]
