"""Whether the caller has finished: models that say how likely it is that they go on."""
