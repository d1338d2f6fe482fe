"""The framework a reader studies: one file per module of the course."""
