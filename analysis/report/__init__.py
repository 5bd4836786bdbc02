"""One self-contained HTML file that says what a study found, with its figures, its runs and its costs."""
