"""A warehouse of one's own: the files of a new project, and the pinned engine in it."""
