"""What the papers print: tables, rows, columns and claims."""
