"""Does nothing wrong: integers, then one plan. What the audits must let pass."""


def optimize(model, calibration, context):
    return context.accelerate(context.quantize(model, samples=256))
