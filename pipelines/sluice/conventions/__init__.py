"""The conventions a project is held to: `sluice check` runs them over the compiled project, without a warehouse."""
