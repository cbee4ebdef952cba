"""KFP components: one folder a step, each a thin adapter around the function of the same name in `moon.steps`."""
