"""Looks at a real system and proposes its source file: tables, columns, keys, cursors, classes, relationships."""
