"""Tables of any kind in: roles of columns, numbers with units, checkpoints and copies told, rows of a fit."""
