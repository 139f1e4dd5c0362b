"""Tables, figures, galleries and pages, made from metrics files; imports no torch."""
