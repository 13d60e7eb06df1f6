def import_torchscript(script, example_inputs, name):
    raise NotImplementedError
