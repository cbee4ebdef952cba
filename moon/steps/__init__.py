"""The steps of the chain, one file each: ``run(inputs, params, out) -> result``.

The command line, the DVC stages, the Kubeflow components and the tests all call these functions.
"""
