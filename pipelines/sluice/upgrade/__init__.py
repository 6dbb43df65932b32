"""Moves a project to the installed engine: its files, its run store, with a backup; all of it or nothing."""
